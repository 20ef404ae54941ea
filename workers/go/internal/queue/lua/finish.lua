-- Remove a message, whoever has it; with a reason, put it to the dead letters. Its id is remembered for a while.
-- KEYS: the stream, the dead letters' stream, the id's key.
-- ARGV: group, entry, seconds to remember the id; for a dead letter also message, reason, deliveries, how many to keep.
if redis.call('XDEL', KEYS[1], ARGV[2]) == 0 then
  return 0
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('SET', KEYS[3], 'done', 'EX', ARGV[3])
if ARGV[4] then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[7], '*', 'message', ARGV[4], 'reason', ARGV[5], 'receives', ARGV[6])
end
return 1
