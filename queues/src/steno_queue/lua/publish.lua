-- Publish a message unless the queue has one of this id, or had it until shortly.
-- KEYS: streams by priority class, then the id's key. ARGV: number of the stream, id, message, seconds to keep the id.
-- The id's key says where the message is, or that it is done. A stream that lost its entries has lost the message.
local id_key = KEYS[#KEYS]
local held = redis.call('GET', id_key)
if held == 'done' then
  return 0
end
if held then
  local stream, entry = string.match(held, '^(%d+) (%S+)$')
  if #redis.call('XRANGE', KEYS[tonumber(stream)], entry, entry) > 0 then
    return 0
  end
end
local entry = redis.call('XADD', KEYS[tonumber(ARGV[1])], '*', 'id', ARGV[2], 'message', ARGV[3])
redis.call('SET', id_key, ARGV[1] .. ' ' .. entry, 'EX', ARGV[4])
return 1
