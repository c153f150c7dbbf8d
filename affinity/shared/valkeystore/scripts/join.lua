-- Registers a replica that has acted on the log up to a position of an incarnation, -1 for one
-- that knows nothing and need not. Where that is not all, it is told where to go on. What it
-- has acted on of an earlier incarnation counts as far as that was continued by this one.
-- ARGV: replica, position, incarnation, what it tells of itself.
local position = tonumber(ARGV[2])
if position >= 0 then
  if ARGV[3] ~= incarnation then
    local ended = redis.call('HGET', base .. 'ended', ARGV[3])
    position = ended and math.min(position, tonumber(ended)) or tonumber(redis.call('HGET', store, 'start'))
  end
  if position ~= seq then return {'behind', position, phase, {}, {}} end
end
-- Nobody was there to renew a lease where none is registered, or only this one, which has
-- begun anew and knows nothing that could have expired: that is no step of the clock.
local ones = redis.call('HLEN', base .. 'at')
local alone = ones == 0 or ones == 1 and registered(me) and position < 0
if alone or not stepped() then redis.call('HSET', store, 'tick', now) end
redis.call('HSET', base .. 'at', me, seq)
beat()
redis.call('HSET', base .. 'info', me, ARGV[4])
return {'joined', seq, phase, redis.call('SMEMBERS', base .. 'fences'), votes()}
