-- Says that a replica has put back what it holds, and, where it has waited long enough for
-- others, opens the store once all have.
-- ARGV: replica, whether it has waited, the highest epoch that it ever saw: the store may have
-- lost how far it was, and its clock may have been set back.
if not registered(me) then return {'unregistered', seq} end
redis.call('HSET', base .. 'ready', me, 1)
if tonumber(ARGV[3]) >= tonumber(kept[5] or 0) then redis.call('HSET', store, 'ms', tonumber(ARGV[3]) + 1) end
if phase == 'open' then return reply('open') end
if ARGV[2] ~= '1' or not safe(seq) then return reply('recovering') end
for _, replica in ipairs(redis.call('HKEYS', base .. 'at')) do
  if redis.call('HEXISTS', base .. 'ready', replica) == 0 then return reply('recovering') end
end
redis.call('HSET', store, 'phase', 'open')
return reply('open')
