-- Registers a replica that has acted on the log up to a position, -1 for one that knows
-- nothing and need not.
-- ARGV: replica, position, what it tells of itself.
local position = tonumber(ARGV[2])
if position >= 0 and position ~= seq then return {'behind', seq, phase, {}} end
if redis.call('HLEN', base .. 'at') == 0 or not stepped() then redis.call('HSET', store, 'tick', now) end
redis.call('HSET', base .. 'at', me, seq)
redis.call('HINCRBY', base .. 'beat', me, 1)
redis.call('HSET', base .. 'info', me, ARGV[3])
local fences = {}
for _, name in ipairs(redis.call('SMEMBERS', base .. 'fences')) do
  fences[#fences + 1] = name
end
return {'joined', seq, phase, fences}
