-- What all scripts of an incarnation share. Its id is part of their text: a server process
-- that did not load them for this incarnation does not know them, and says NOSCRIPT.
-- KEYS: store. ARGV: the replica, then what the script says.
local incarnation = '@INCARNATION@'
local store = KEYS[1]
local base = string.sub(store, 1, -6)
local me = ARGV[1]
if me == '' then return {'loaded', 0} end -- see Store.load
local kept = redis.call('HMGET', store, 'id', 'phase', 'seq', 'floor', 'ms', 'tick')
if kept[1] ~= incarnation then
  return {'lost', 0}
end
local phase, seq = kept[2], tonumber(kept[3])

-- now is the server's clock in milliseconds; an epoch never falls behind one that was given.
local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local now = clock()

-- stepped reports whether the server's clock was set: replicas renew their leases, and yet
-- the last time any did seems long ago. Sessions may have expired that are not idle.
local function stepped()
  local tick = tonumber(kept[6] or 0)
  return math.abs(now - tick) > 2 * @LEASE@
end

local function registered(replica)
  return redis.call('HEXISTS', base .. 'at', replica) == 1
end

-- beat notes that a replica is alive. No two beats are the same, so that one that was taken
-- off and came back is not taken for what it was.
local function beat()
  redis.call('HSET', base .. 'beat', me, redis.call('HINCRBY', store, 'beats', 1))
end

local function next_epoch(least)
  local high = math.max(now, tonumber(kept[5] or 0))
  if high > tonumber(kept[5] or 0) then
    redis.call('HSET', store, 'ms', high)
    kept[5] = high
  end
  return math.max(high, least + 1, tonumber(kept[4] or 0) + 1)
end

local function forgotten(epoch)
  if epoch > tonumber(kept[4] or 0) then
    redis.call('HSET', store, 'floor', epoch)
    kept[4] = epoch
  end
end

-- safe reports whether every replica has acted on the log up to n: none of them answers
-- from what it knew before.
local function safe(n)
  for _, at in ipairs(redis.call('HVALS', base .. 'at')) do
    if tonumber(at) < n then return false end
  end
  return true
end

local function log(...)
  seq = redis.call('HINCRBY', store, 'seq', 1)
  redis.call('XADD', base .. 'log:' .. incarnation, 'MAXLEN', '~', 100000, string.format('%d-0', seq), ...)
  return seq
end

local function fence_of(service, pod)
  local n = redis.call('HGET', base .. 'fence:' .. service .. '\0' .. pod, '#')
  return n and tonumber(n)
end

-- votes are the lost pods that this replica found lost.
local function votes()
  local out = {}
  for _, name in ipairs(redis.call('SMEMBERS', base .. 'fences')) do
    if redis.call('HEXISTS', base .. 'fence:' .. name, me) == 1 then out[#out + 1] = name end
  end
  return out
end

local function index_of(service, pod) return base .. 'i:' .. service .. '\0' .. pod end
local function key_of(service, key) return base .. 's:' .. service .. '\0' .. key end

-- full reports whether a pod has as many sessions as it may, by all replicas' claims until now.
local function full(service, pod, most)
  return most > 0 and redis.call('ZCOUNT', index_of(service, pod), now, '+inf') >= most
end

local function load(service, key)
  local packed = redis.call('GET', key_of(service, key))
  if not packed then return nil end
  local f = cmsgpack.unpack(packed)
  local r = {pod = f[1], epoch = f[2], previous = f[3], created = f[4], seen = f[5], requests = f[6], n = 0, to = ''}
  if f[9] == incarnation then -- a change that was begun in another one is never ended
    r.n, r.to = f[7], f[8]
  end
  return r
end

local function save(service, key, r, ttl, joins)
  local packed = cmsgpack.pack({r.pod, r.epoch, r.previous, r.created, r.seen, r.requests, r.n, r.to, r.n > 0 and incarnation or ''})
  redis.call('SET', key_of(service, key), packed, 'PX', ttl)
  redis.call('ZADD', index_of(service, r.pod), now + ttl, key)
  if joins then
    redis.call('SADD', base .. 'services', service)
    redis.call('SADD', base .. 'pods:' .. service, r.pod)
  end
end

local function drop(service, key, r)
  redis.call('DEL', key_of(service, key))
  redis.call('ZREM', index_of(service, r.pod), key)
  forgotten(r.epoch)
end

local function remaining(service, key)
  return math.max(redis.call('PTTL', key_of(service, key)), 1000)
end

-- rebound gives a record another pod.
local function rebound(service, key, r, to, ttl)
  redis.call('ZREM', index_of(service, r.pod), key)
  r.previous, r.pod, r.epoch, r.n, r.to = r.pod, to, next_epoch(r.epoch), 0, ''
  save(service, key, r, ttl, true)
  return r
end

-- settle ends a change that was begun, once nobody acts on what was before: whoever
-- comes across it does, should the one who began it be gone.
local function settle(service, key, r)
  if not r or r.n == 0 or not safe(r.n) then return r end
  if r.to == '' then
    drop(service, key, r)
    return nil
  end
  return rebound(service, key, r, r.to, remaining(service, key))
end

local function reply(code, r, n)
  if not r then return {code, seq, '', 0, '', 0, 0, 0, n or 0} end
  return {code, seq, r.pod, r.epoch, r.previous, r.created, r.seen, r.requests, n or r.n}
end

local function used(service, key, r, ttl)
  r.seen, r.requests = now, r.requests + 1
  save(service, key, r, ttl, false)
end

local function may_change()
  if not registered(me) then return {'unregistered', seq} end
  if phase ~= 'open' then return {'recovering', seq} end
  if stepped() then return {'stepped', seq} end
  return nil
end

-- standing says what a session is bound to where nothing may be changed because the server's
-- clock seems to have been set, or was: bindings may be missing, but nobody has changed those
-- that are there, and nobody can. So it is, too, where all replicas were away for some time.
local function standing(service, key, no)
  if no[1] ~= 'stepped' and not (no[1] == 'recovering' and redis.call('HGET', store, 'sound') == '1') then return nil end
  local r = load(service, key)
  if not r or r.n > 0 or fence_of(service, r.pod) then return nil end
  return reply('bound', r)
end
