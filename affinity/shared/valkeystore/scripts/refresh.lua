-- Writes uses of sessions as a replica saw them. One that the store has not is put back
-- where the replica says so: it has lost it. Of two bindings the one with the higher epoch
-- is in force while the store recovers, and the store's afterwards.
-- Nor is one put back while there is something in the log that the replica had not acted on when
-- it was about to: it may be what ended the session.
-- ARGV: replica, its position in the log, then for each session: service, key, pod, epoch, previous, created, seen, requests, ttl, put back.
if not registered(me) then return {{'unregistered', seq}} end
-- Sessions that replicas answer for may have expired: nothing may be put in their place.
if phase == 'open' and stepped() then return {{'stepped', seq}} end
local out = {}
local behind = phase == 'open' and tonumber(ARGV[2]) < seq
-- bound is the answer for a binding in force. One whose pod is lost must not be kept: it may be
-- rebound without another word.
local function bound(service, r) return reply(fence_of(service, r.pod) and 'fenced' or 'bound', r) end
for i = 3, #ARGV, 10 do
  local service, key, ttl = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 8])
  local mine = {pod = ARGV[i + 2], epoch = tonumber(ARGV[i + 3]), previous = ARGV[i + 4],
    created = tonumber(ARGV[i + 5]), seen = tonumber(ARGV[i + 6]), requests = tonumber(ARGV[i + 7]), n = 0, to = ''}
  local r = load(service, key)
  if phase == 'open' then r = settle(service, key, r) end
  if not r and ARGV[i + 9] == '0' then
    out[#out + 1] = reply('none')
  elseif not r and behind then
    out[#out + 1] = reply('behind')
  elseif not r then
    if phase == 'open' then
      mine.epoch = next_epoch(mine.epoch)
    else
      forgotten(mine.epoch)
    end
    save(service, key, mine, ttl, true)
    out[#out + 1] = bound(service, mine)
  elseif r.pod == mine.pod and r.n > 0 then
    out[#out + 1] = reply('changing', r)
  elseif r.pod == mine.pod then
    if r.epoch < mine.epoch then -- others may hold it as it was before
      log('kind', 'revoke', 'service', service, 'keys', #key .. ':' .. key, 'keep', me)
    end
    r.seen, r.requests, r.epoch = math.max(r.seen, mine.seen), math.max(r.requests, mine.requests), math.max(r.epoch, mine.epoch)
    save(service, key, r, ttl, false)
    out[#out + 1] = bound(service, r)
  elseif phase ~= 'open' and r.epoch < mine.epoch then
    redis.call('ZREM', index_of(service, r.pod), key)
    forgotten(mine.epoch)
    save(service, key, mine, ttl, true)
    log('kind', 'revoke', 'service', service, 'keys', #key .. ':' .. key, 'keep', me)
    out[#out + 1] = reply('won', r)
  else
    out[#out + 1] = reply('conflict', r)
  end
end
return out
