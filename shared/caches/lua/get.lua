-- KEYS cache, the key. Only the first of the four: nothing is written but the count.
local refused = admit(1)
if refused then return refused end
local value = redis.call('GET', KEYS[2])
if not value then return false end
return {value, redis.call('PTTL', KEYS[2])}
