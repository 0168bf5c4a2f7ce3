-- KEYS the four, the key; ARGV name
local refused = admit(1)
if refused then return refused end
local removed = redis.call('UNLINK', KEYS[5])
forget(ARGV[1])
return removed
