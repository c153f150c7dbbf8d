-- Adopts the incarnation of this server process, or begins one. The record of the process
-- is its run id: a server that was restarted, restored or promoted has another one and may
-- lack what was acknowledged. Sessions that it has are kept, to be corrected by those
-- who know better; who was a replica, and what was to be revoked, is not.
-- KEYS: store. ARGV: the id of a new incarnation, one that is to be left in any case ('' for none).
local store = KEYS[1]
local base = string.sub(store, 1, -6)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local was = redis.call('HMGET', store, 'id', 'run', 'phase')
if was[1] and was[2] == run and was[1] ~= ARGV[2] then
  return {was[1], was[3], 0}
end
for _, name in ipairs(redis.call('SMEMBERS', base .. 'fences')) do
  redis.call('DEL', base .. 'fence:' .. name)
end
redis.call('DEL', base .. 'at', base .. 'beat', base .. 'info', base .. 'ready', base .. 'fences')
if was[1] then
  redis.call('DEL', base .. 'log:' .. was[1])
end
redis.call('HSET', store, 'id', ARGV[1], 'run', run, 'phase', 'recovering', 'seq', 0)
return {ARGV[1], 'recovering', 1}
