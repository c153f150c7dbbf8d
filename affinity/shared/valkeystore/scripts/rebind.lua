-- Gives a session whose pod is fenced another pod, if nobody did and nobody acts on the
-- old one any more.
-- ARGV: replica, service, key, from, epoch, to, ttl, how many sessions that pod may have (0: any number).
local no = may_change()
if no then return no end
local service, key, from, epoch, to, ttl = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local r = settle(service, key, load(service, key))
if not r then return reply('none') end
if r.n > 0 then return reply('changing', r) end
local fence = fence_of(service, r.pod)
if not fence then
  used(service, key, r, ttl)
  return reply('bound', r)
end
if r.pod ~= from or r.epoch ~= epoch then return reply('fenced', r, fence) end
if not safe(fence) then return reply('fencing', r, fence) end
if fence_of(service, to) or full(service, to, tonumber(ARGV[8])) then return reply('choice') end
r.seen, r.requests = now, r.requests + 1
return reply('rebound', rebound(service, key, r, to, ttl))
