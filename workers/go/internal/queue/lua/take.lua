-- Lease messages to a consumer: of each priority class in order, first those whose lease has ended, then new ones.
-- KEYS: streams by priority class. ARGV: group, consumer, how many, visibility timeout in milliseconds.
-- Returns {{number of the stream, entry, deliveries, fields}, …} and the last entry of each stream, to wait for more.
local group, consumer, left, visibility = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local taken, last = {}, {}
-- A script's writes stay when it fails: that a group is missing must be known before anything is taken.
for _, stream in ipairs(KEYS) do
  redis.call('XPENDING', stream, group)
end
for index, stream in ipairs(KEYS) do
  local cursor = '0-0'
  while left > 0 do
    local claimed = redis.call('XAUTOCLAIM', stream, group, consumer, visibility, cursor, 'COUNT', left)
    cursor = claimed[1]
    for _, entry in ipairs(claimed[2]) do
      if entry then
        local pending = redis.call('XPENDING', stream, group, entry[1], entry[1], 1)
        taken[#taken + 1] = {index, entry[1], pending[1][4], entry[2]}
        left = left - 1
      end
    end
    if cursor == '0-0' then
      break
    end
  end
  if left > 0 then
    local answer = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', left, 'STREAMS', stream, '>')
    if answer then
      for _, entry in ipairs(answer[1][2]) do
        taken[#taken + 1] = {index, entry[1], 1, entry[2]}
        left = left - 1
      end
    end
  end
  local info = redis.call('XINFO', 'STREAM', stream)
  for field = 1, #info, 2 do
    if info[field] == 'last-generated-id' then
      last[index] = info[field + 1]
    end
  end
end
return {taken, last}
