-- KEYS cache; ARGV region, operations, ttl in ms (0: none), job
-- Returns the fields, and the job that made it.
if redis.call('EXISTS', KEYS[1]) == 0 then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local ttl = tonumber(ARGV[3])
  local ends = ttl > 0 and now + ttl or 0
  redis.call('HSET', KEYS[1], 'region', ARGV[1], 'left', ARGV[2], 'used', 0, 'created', now, 'ends', ends,
    'job', ARGV[4])
  if ends > 0 then redis.call('PEXPIREAT', KEYS[1], ends) end
end
return redis.call('HMGET', KEYS[1], 'region', 'left', 'used', 'created', 'ends', 'job')
