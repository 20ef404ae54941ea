-- Count messages: {waiting, in flight, age of the oldest waiting one in milliseconds}.
-- KEYS: streams by priority class. ARGV: group, visibility timeout in milliseconds, the most to count of ended leases.
local waiting, in_flight, oldest = 0, 0, nil
local function see(entry)
  local stamp = tonumber(string.match(entry, '^%d+'))
  if not oldest or stamp < oldest then
    oldest = stamp
  end
end
for _, stream in ipairs(KEYS) do
  local leased, delivered = 0, '0-0'
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local fields = {}
    for field = 1, #info, 2 do
      fields[info[field]] = info[field + 1]
    end
    if fields['name'] == ARGV[1] then
      leased, delivered = fields['pending'], fields['last-delivered-id']
    end
  end
  local ended = redis.call('XPENDING', stream, ARGV[1], 'IDLE', ARGV[2], '-', '+', ARGV[3])
  if #ended > 0 then
    see(ended[1][1])
  end
  local new = redis.call('XRANGE', stream, '(' .. delivered, '+', 'COUNT', 1)
  if #new > 0 then
    see(new[1][1])
  end
  in_flight = in_flight + leased - #ended
  waiting = waiting + redis.call('XLEN', stream) - leased + #ended
end
local now = redis.call('TIME')
local age = 0
if oldest then
  age = math.max(0, now[1] * 1000 + math.floor(now[2] / 1000) - oldest)
end
return {waiting, in_flight, age}
