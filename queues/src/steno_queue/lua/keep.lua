-- Set how long a consumer has left a message alone, unless it was delivered again since; returns whether it was not.
-- KEYS: the stream. ARGV: group, consumer, entry, milliseconds, how often it had been delivered; and how often that
-- counts from now on, if it is less: for a consumer that has nothing against the message but cannot do it.
-- Without the group, which a server that lost its data has not, nothing is anybody's.
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if pending.err or #pending == 0 or pending[1][2] ~= ARGV[2] or pending[1][4] ~= tonumber(ARGV[5]) then
  return 0
end
local counted = ARGV[6] or ARGV[5]
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'IDLE', ARGV[4], 'RETRYCOUNT', counted, 'JUSTID')
return 1
