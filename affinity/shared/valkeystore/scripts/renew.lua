-- Renews a replica's lease and tells of the others.
-- ARGV: replica, what it tells of itself.
if not registered(me) then return {'unregistered', seq} end
if stepped() then return {'stepped', seq} end
redis.call('HSET', store, 'tick', now)
beat()
redis.call('HSET', base .. 'info', me, ARGV[2])
return {'renewed', seq, phase, redis.call('HGETALL', base .. 'beat'), redis.call('HGETALL', base .. 'at'), redis.call('HGETALL', base .. 'info'), votes()}
