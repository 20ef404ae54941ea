-- Set how long a consumer has left a message alone, unless it is another's by now; returns whether it was its own.
-- KEYS: the stream. ARGV: group, consumer, entry, milliseconds.
-- Without the group, which a server that lost its data has not, nothing is anybody's.
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if pending.err or #pending == 0 or pending[1][2] ~= ARGV[2] then
  return 0
end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'IDLE', ARGV[4], 'JUSTID')
return 1
