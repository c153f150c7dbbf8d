-- Says that a replica acts on nothing older than a position in the log.
-- ARGV: replica, position.
if not registered(me) then return {'unregistered', seq} end
redis.call('HSET', base .. 'at', me, ARGV[2])
return reply('bound')
