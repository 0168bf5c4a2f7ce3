-- KEYS the four, the key; ARGV name, ttl in ms (0: take it away). Returns whether there is such a key.
local refused = admit(1)
if refused then return refused end
if redis.call('EXISTS', KEYS[5]) == 0 then return 0 end
if ARGV[2] == '0' then
  redis.call('PERSIST', KEYS[5])
else
  redis.call('PEXPIRE', KEYS[5], ARGV[2])
end
record(ARGV[1], KEYS[5])
return 1
