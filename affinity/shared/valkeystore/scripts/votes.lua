-- Takes back that a pod is lost. Where no replica says so any more, it is in service again.
local function unfence(service, pod, replica)
  local name = service .. '\0' .. pod
  local fence = base .. 'fence:' .. name
  redis.call('HDEL', fence, replica)
  for _, voter in ipairs(redis.call('HKEYS', fence)) do
    if voter ~= '#' and registered(voter) then return false end
  end
  if redis.call('DEL', fence) == 1 then
    redis.call('SREM', base .. 'fences', name)
    log('kind', 'unfence', 'service', service, 'pod', pod)
  end
  return true
end

local function leave(replica)
  redis.call('HDEL', base .. 'at', replica)
  redis.call('HDEL', base .. 'beat', replica)
  redis.call('HDEL', base .. 'info', replica)
  redis.call('HDEL', base .. 'ready', replica)
  for _, name in ipairs(redis.call('SMEMBERS', base .. 'fences')) do
    local service, pod = string.match(name, '^(%Z*)%z(.*)$')
    unfence(service, pod, replica)
  end
end
