-- KEYS the four, the key; ARGV name, value, ttl in ms (0: none), bytes that the cache may have
local refused = admit(1)
if refused then return refused end
purge(PURGE_ON_WRITE)
if not fits(#ARGV[1] + #ARGV[2] - size_of(ARGV[1]), tonumber(ARGV[4])) then return {err = 'FULL'} end
if ARGV[3] == '0' then
  redis.call('SET', KEYS[5], ARGV[2])
else
  redis.call('SET', KEYS[5], ARGV[2], 'PX', ARGV[3])
end
record(ARGV[1], KEYS[5])
return 1
