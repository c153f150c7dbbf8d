-- Binds a session that has no binding, or says what it has. Without a pod it only asks.
-- ARGV: replica, service, key, pod, ttl, how many sessions the pod may have (0: any number).
local service, key, pod, ttl = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local no = may_change()
if no then return standing(service, key, no) or no end
local r = settle(service, key, load(service, key))
if r then
  if r.n > 0 then return reply('changing', r) end
  local fence = fence_of(service, r.pod)
  if fence then return reply('fenced', r, fence) end
  used(service, key, r, ttl)
  return reply('bound', r)
end
if pod == '' then return reply('none') end
if fence_of(service, pod) or full(service, pod, tonumber(ARGV[6])) then return reply('choice') end
r = {pod = pod, epoch = next_epoch(0), previous = '', created = now, seen = now, requests = 1, n = 0, to = ''}
save(service, key, r, ttl, true)
return reply('claimed', r)
