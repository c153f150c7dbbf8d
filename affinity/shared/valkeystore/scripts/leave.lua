-- Takes a replica off the register, with what it said of lost pods.
-- ARGV: replica, who leaves, its heartbeats as they were seen ('' for whatever they are).
if ARGV[3] ~= '' and redis.call('HGET', base .. 'beat', ARGV[2]) ~= ARGV[3] then return reply('bound') end
leave(ARGV[2])
return reply('none')
