-- KEYS cache, payments; ARGV payment id. What was used of them already stays owed: `left` may be below zero.
local count = redis.call('HGET', KEYS[2], ARGV[1])
if not count then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HINCRBY', KEYS[1], 'left', -tonumber(count))
end
return 1
