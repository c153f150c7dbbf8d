-- Ends a change that was begun, if nobody acts on what was before any more.
-- ARGV: replica, service, n, key...
local no = may_change()
if no then return {no} end
local service, n = ARGV[2], tonumber(ARGV[3])
if not safe(n) then return {reply('changing', nil, n)} end
local out = {}
for i = 4, #ARGV do
  local r = settle(service, ARGV[i], load(service, ARGV[i]))
  out[#out + 1] = r and reply('bound', r) or reply('none')
end
return out
