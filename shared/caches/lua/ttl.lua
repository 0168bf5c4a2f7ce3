-- KEYS cache, the key
local refused = admit(1)
if refused then return refused end
return redis.call('PTTL', KEYS[2])
