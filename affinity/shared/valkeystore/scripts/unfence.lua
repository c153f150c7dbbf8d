-- Takes back that a pod is lost, where this replica said so.
-- ARGV: replica, service, pod, whether only if the pod has no session left.
local no = may_change()
if no then return no end
local n = fence_of(ARGV[2], ARGV[3])
if not n then return reply('open') end
if ARGV[4] == '1' then
  local index = index_of(ARGV[2], ARGV[3])
  if not safe(n) or redis.call('ZCOUNT', index, now, '+inf') > 0 then return reply('fenced', nil, n) end
end
if unfence(ARGV[2], ARGV[3], me) then return reply('open') end
return reply('fenced', nil, n)
