-- KEYS the four, payments; ARGV prefix of the tenant's keys, how many names at a time, '1' to spare one that lives
-- Returns how many names were removed: call it until that is 0.
if redis.call('EXISTS', KEYS[1]) == 1 then
  if ARGV[3] == '1' then return 0 end
  redis.call('UNLINK', KEYS[1])
end
local names = redis.call('ZRANGE', KEYS[2], 0, ARGV[2] - 1)
for _, name in ipairs(names) do
  redis.call('UNLINK', ARGV[1] .. name)
  redis.call('ZREM', KEYS[2], name)
end
if #names == 0 then redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4], KEYS[5]) end
return #names
