-- KEYS the four; ARGV prefix of the tenant's keys, from and to as ZRANGEBYLEX has them, limit
-- Returns the operations left, the place to go on from (empty: this was all), and the names.
local refused = admit(1)
if refused then return refused end
purge(PURGE_WHEN_ASKED)
local limit = tonumber(ARGV[4])
local names = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[2], ARGV[3], 'LIMIT', 0, limit + 1)
local more = ''
if #names > limit then
  table.remove(names)
  more = names[#names]
end
local living = {}
for _, name in ipairs(names) do
  if redis.call('EXISTS', ARGV[1] .. name) == 1 then living[#living + 1] = name end
end
return {tonumber(redis.call('HGET', KEYS[1], 'left')), more, living}
