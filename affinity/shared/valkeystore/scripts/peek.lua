-- Shows a session without using it.
-- ARGV: replica, service, key.
local r = load(ARGV[2], ARGV[3])
if not r then return reply('none') end
return reply('bound', r)
