-- Lists the pods that may have sessions: service, pod...
-- ARGV: replica.
local out = {'pods'} -- no service's name, which could be one of those for a refusal
for _, service in ipairs(redis.call('SMEMBERS', base .. 'services')) do
  for _, pod in ipairs(redis.call('SMEMBERS', base .. 'pods:' .. service)) do
    out[#out + 1], out[#out + 2] = service, pod
  end
end
return out
