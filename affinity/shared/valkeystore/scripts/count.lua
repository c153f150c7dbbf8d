-- Counts the sessions of each pod of each service: service, pod, sessions... Once a second
-- for all replicas, however many ask.
-- ARGV: replica.
local counted = redis.call('GET', base .. 'counted')
if counted then return cmsgpack.unpack(counted) end
local out = {'pods'} -- no service's name, which could be one of those for a refusal
for _, service in ipairs(redis.call('SMEMBERS', base .. 'services')) do
  local pods = redis.call('SMEMBERS', base .. 'pods:' .. service)
  for _, pod in ipairs(pods) do
    local index = index_of(service, pod)
    local n = redis.call('ZCOUNT', index, now, '+inf')
    if n > 0 then
      out[#out + 1], out[#out + 2], out[#out + 3] = service, pod, n
    end
    if redis.call('ZCARD', index) > n then -- some have expired; not all at once
      local gone = redis.call('ZRANGEBYSCORE', index, '-inf', '(' .. now, 'LIMIT', 0, 1000)
      if #gone > 0 then redis.call('ZREM', index, unpack(gone)) end
    elseif n == 0 then
      redis.call('SREM', base .. 'pods:' .. service, pod)
    end
  end
  if #pods == 0 then redis.call('SREM', base .. 'services', service) end
end
redis.call('SET', base .. 'counted', cmsgpack.pack(out), 'PX', 900)
return out
