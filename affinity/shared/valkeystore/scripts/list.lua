-- Lists some sessions of a pod.
-- ARGV: replica, service, pod, cursor, about how many.
local index = index_of(ARGV[2], ARGV[3])
local found = redis.call('ZSCAN', index, ARGV[4], 'COUNT', ARGV[5])
local out, members = {found[1]}, found[2]
for i = 1, #members, 2 do
  local r = load(ARGV[2], members[i])
  if r and r.pod == ARGV[3] then
    out[#out + 1] = members[i]
    out[#out + 1] = reply('bound', r)
  end
end
return out
