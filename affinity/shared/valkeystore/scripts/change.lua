-- Begins a change of sessions that an operator, or the end of a session, asks for: all
-- replicas are told to forget them. An empty pod deletes them, an epoch of 0 is any.
-- ARGV: replica, service, epoch, to, ttl, key...
local no = may_change()
if no then return {no} end
local service, epoch, to, ttl = ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local out, keys = {}, {}
local n = seq + 1
if to ~= '' and fence_of(service, to) then return {reply('choice')} end
for i = 6, #ARGV do
  local key = ARGV[i]
  local r = settle(service, key, load(service, key))
  if not r then
    if to == '' then
      out[#out + 1] = reply('none')
    else
      r = {pod = to, epoch = next_epoch(0), previous = '', created = now, seen = now, requests = 0, n = 0, to = ''}
      save(service, key, r, ttl, true)
      out[#out + 1] = reply('claimed', r)
    end
  elseif epoch > 0 and r.epoch ~= epoch then
    out[#out + 1] = reply('conflict', r)
  elseif r.n > 0 then
    out[#out + 1] = reply('changing', r)
  elseif r.pod == to then
    out[#out + 1] = reply('bound', r)
  else
    r.n, r.to = n, to
    save(service, key, r, remaining(service, key), false)
    keys[#keys + 1] = #key .. ':' .. key
    out[#out + 1] = reply('begun', r)
  end
end
if #keys > 0 then log('kind', 'revoke', 'service', service, 'keys', table.concat(keys)) end
return out
