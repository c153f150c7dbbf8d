-- Counts the sessions of each pod of each service: service, pod, sessions...
-- ARGV: replica.
local out = {}
for _, service in ipairs(redis.call('SMEMBERS', base .. 'services')) do
  local pods = redis.call('SMEMBERS', base .. 'pods:' .. service)
  for _, pod in ipairs(pods) do
    local index = index_of(service, pod)
    redis.call('ZREMRANGEBYSCORE', index, '-inf', now)
    local n = redis.call('ZCARD', index)
    if n == 0 then
      redis.call('SREM', base .. 'pods:' .. service, pod)
    else
      out[#out + 1], out[#out + 2], out[#out + 3] = service, pod, n
    end
  end
  if #pods == 0 then redis.call('SREM', base .. 'services', service) end
end
return out
