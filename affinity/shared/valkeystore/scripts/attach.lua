-- Adopts the incarnation of this server process, or begins one. The record of the process
-- is its run id: a server that was restarted, restored or promoted has another one and may
-- lack what was acknowledged. Sessions that it has are kept, to be corrected by those
-- who know better; who was a replica, which pods were lost and which changes were begun, is not.
-- The log goes on: a replica that was away must not put back what it should have forgotten.
-- KEYS: store. ARGV: the id of a new incarnation, one that is to be left in any case ('' for none).
local store = KEYS[1]
local base = string.sub(store, 1, -6)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local was = redis.call('HMGET', store, 'id', 'run', 'phase', 'sound')
if was[1] and was[2] == run and was[1] ~= ARGV[2] then
  return {was[1], was[3], 0}
end
local seq, log = tonumber(redis.call('HGET', store, 'seq') or 0), base .. 'log:' .. ARGV[1]
if was[1] and redis.call('EXISTS', base .. 'log:' .. was[1]) == 1 then
  redis.call('RENAME', base .. 'log:' .. was[1], log)
  redis.call('HSET', base .. 'ended', was[1], seq)
end
for _, name in ipairs(redis.call('SMEMBERS', base .. 'fences')) do
  local service, pod = string.match(name, '^(%Z*)%z(.*)$')
  redis.call('DEL', base .. 'fence:' .. name)
  seq = seq + 1
  redis.call('XADD', log, string.format('%d-0', seq), 'kind', 'unfence', 'service', service, 'pod', pod)
end
redis.call('DEL', base .. 'at', base .. 'beat', base .. 'info', base .. 'ready', base .. 'fences')
local sound = '0' -- whether all bindings that it has are in force
if was[1] and was[2] == run and (was[3] == 'open' or was[4] == '1') then sound = '1' end
redis.call('HSET', store, 'id', ARGV[1], 'run', run, 'phase', 'recovering', 'sound', sound, 'seq', seq, 'start', seq)
return {ARGV[1], 'recovering', 1}
