-- KEYS cache, payments; ARGV count, payment id
if redis.call('EXISTS', KEYS[1]) == 0 then return {err = 'NOCACHE'} end
if redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[1]) == 1 then
  redis.call('HINCRBY', KEYS[1], 'left', ARGV[1])
end
return redis.call('HMGET', KEYS[1], 'region', 'left', 'used', 'created', 'ends')
