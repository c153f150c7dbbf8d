-- Says that a pod is lost: every replica is told to forget its sessions, and nobody binds
-- a session to it.
-- ARGV: replica, service, pod.
local no = may_change()
if no then return no end
local name = ARGV[2] .. '\0' .. ARGV[3]
local fence = base .. 'fence:' .. name
local n = redis.call('HGET', fence, '#')
if not n then
  n = log('kind', 'fence', 'service', ARGV[2], 'pod', ARGV[3])
  redis.call('HSET', fence, '#', n)
  redis.call('SADD', base .. 'fences', name)
end
redis.call('HSET', fence, me, 1)
n = tonumber(n)
return reply(safe(n) and 'fenced' or 'fencing', nil, n)
