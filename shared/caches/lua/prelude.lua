-- A cache is a few keys with one hash tag, so that all of them live on one node of a cluster:
--   {id}:m  hash: region, created, ends (ms, 0: never), left (operations), used (bytes),
--         job that made it. Expires with the cache
--   {id}:i  sorted set, all of score 0: the names of the keys, in their order
--   {id}:s  hash: name -> bytes that the server spends on it
--   {id}:e  sorted set: name -> when it expires (ms), for names that do
--   {id}:p  hash: payment -> operations that it added
--   {id}:k:<name>  what the tenant keeps
-- KEYS begin with the first four, in this order. Names whose time is over leave i, s and e a little later.

local PURGE_ON_WRITE = 8
local PURGE_WHEN_ASKED = 1000

-- Counts, if the cache lives and has enough left. Returns an error to answer with otherwise.
local function admit(count)
  local left = redis.call('HGET', KEYS[1], 'left')
  if not left then return {err = 'NOCACHE'} end
  if tonumber(left) < count then return {err = 'USEDUP'} end
  redis.call('HINCRBY', KEYS[1], 'left', -count)
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function spend(bytes)
  if bytes ~= 0 then redis.call('HINCRBY', KEYS[1], 'used', bytes) end
end

local function size_of(name)
  return tonumber(redis.call('HGET', KEYS[3], name)) or 0
end

local function forget(name)
  spend(-size_of(name))
  redis.call('ZREM', KEYS[2], name)
  redis.call('HDEL', KEYS[3], name)
  redis.call('ZREM', KEYS[4], name)
end

-- Forget names whose time is over, at most so many.
local function purge(most)
  local over = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', '(' .. now_ms(), 'LIMIT', 0, most)
  for _, name in ipairs(over) do forget(name) end
end

-- Bring the books in line with what a key is now, after anything that may have changed it.
local function record(name, key)
  local size = redis.call('MEMORY', 'USAGE', key)
  if not size then return forget(name) end
  local before = size_of(name)
  spend(size - before)
  if size ~= before then redis.call('HSET', KEYS[3], name, size) end
  if before == 0 then redis.call('ZADD', KEYS[2], 0, name) end
  local ttl = redis.call('PTTL', key)
  if ttl >= 0 then
    redis.call('ZADD', KEYS[4], now_ms() + ttl, name)
  elseif before > 0 then
    redis.call('ZREM', KEYS[4], name)
  end
end

local function used()
  return tonumber(redis.call('HGET', KEYS[1], 'used'))
end

-- Whether so many bytes more fit, after what is over was taken away.
local function fits(bytes, most)
  if used() + bytes <= most then return true end
  purge(PURGE_WHEN_ASKED)
  return used() + bytes <= most
end
