-- KEYS the four, the tenant's keys; ARGV prefix of the tenant's keys, bytes that the cache may have, number of
-- commands, and for each: what it does ('r' reads, 'c' changes, 'g' may grow), how many words, how many keys,
-- the positions of the keys among the words, the words. Where a word is a key it is a number: which of KEYS.
-- Returns two for each: whether it failed, and the reply or the error's text.
local prefix, most, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local refused = admit(count)
if refused then return refused end
purge(PURGE_ON_WRITE)

local KEYS_AT_MOST = 100000
-- Once one request has taken so long, or is answered with so much, the rest of it is neither run nor counted.
local SECONDS_AT_MOST = 1
local REPLY_BYTES_AT_MOST = 16 * 1024 * 1024

local function name_of(key) return string.sub(key, #prefix + 1) end

-- Names of the index from `cursor` on that match and live; returns the next cursor and the names.
local function scan(cursor, pattern, number, of_type)
  local found = redis.call('ZSCAN', KEYS[2], cursor, 'MATCH', pattern, 'COUNT', number)
  local names = {}
  for i = 1, #found[2], 2 do
    local kind = redis.call('TYPE', prefix .. found[2][i]).ok
    if kind ~= 'none' and (not of_type or kind == of_type) then names[#names + 1] = found[2][i] end
  end
  return found[1], names
end

-- The commands on all keys, which may see those of this cache alone.
local own = {}

function own.DBSIZE()
  purge(PURGE_WHEN_ASKED)
  return redis.call('ZCARD', KEYS[2]) - redis.call('ZCOUNT', KEYS[4], '-inf', '(' .. now_ms())
end

function own.RANDOMKEY()
  purge(PURGE_WHEN_ASKED)
  for _ = 1, 100 do
    local name = redis.call('ZRANDMEMBER', KEYS[2])
    if not name or redis.call('EXISTS', prefix .. name) == 1 then return name end
  end
  return false
end

function own.KEYS(words)
  if redis.call('ZCARD', KEYS[2]) > KEYS_AT_MOST then
    return {err = 'ERR the cache has too many keys for KEYS: use SCAN'}
  end
  local all, cursor, names, seen = {}, '0', nil, {}
  repeat
    cursor, names = scan(cursor, words[2], 1000)
    for _, name in ipairs(names) do
      if not seen[name] then
        seen[name] = true
        all[#all + 1] = name
      end
    end
  until cursor == '0'
  return all
end

function own.SCAN(words)
  local pattern, number, of_type = '*', 10, nil
  if #words % 2 == 1 then return {err = 'ERR syntax error'} end
  if not string.find(words[2], '^%d+$') then return {err = 'ERR invalid cursor'} end
  for i = 3, #words, 2 do
    local option = string.upper(words[i])
    if option == 'MATCH' then
      pattern = words[i + 1]
    elseif option == 'COUNT' then
      number = tonumber(words[i + 1])
      if not number or number < 1 then return {err = 'ERR value is not an integer or out of range'} end
    elseif option == 'TYPE' then
      of_type = string.lower(words[i + 1])
    else
      return {err = 'ERR syntax error'}
    end
  end
  local cursor, names = scan(words[2], pattern, math.min(math.floor(number), 1000), of_type)
  return {cursor, names}
end

-- These two answer with the name of the key that they took from.
local names_its_key = {LMPOP = true, ZMPOP = true}

local function run(effect, words, bytes)
  if effect == 'g' and not fits(bytes, most) then return {err = 'ERR the cache is full'} end
  local name = words[1]
  if own[name] then return own[name](words) end
  local reply = redis.pcall(unpack(words))
  if names_its_key[name] and type(reply) == 'table' and reply[1] then reply[1] = name_of(reply[1]) end
  return reply
end

local function weight(reply)
  if type(reply) == 'string' then return #reply end
  local bytes = 8
  if type(reply) == 'table' then
    for _, part in ipairs(reply) do bytes = bytes + weight(part) end
  end
  return bytes
end

local function run_at(at, effect, length, keys)
  local words, bytes, touched = {}, 0, {}
  for i = 1, length do
    words[i] = ARGV[at + 2 + keys + i]
    bytes = bytes + #words[i]
  end
  for i = 1, keys do
    local place = tonumber(ARGV[at + 2 + i])
    local key = KEYS[tonumber(words[place])]
    words[place] = key
    touched[i] = key
  end
  local reply = run(effect, words, bytes)
  if effect ~= 'r' then
    for _, key in ipairs(touched) do record(name_of(key), key) end
  end
  return reply
end

local at, room, started, skipped = 4, REPLY_BYTES_AT_MOST, os.clock(), 0
local replies = {}
for _ = 1, count do
  local effect, length, keys = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local reply = {err = 'ERR not run: the commands before it took all that one request may'}
  if room > 0 and os.clock() - started < SECONDS_AT_MOST then
    reply = run_at(at, effect, length, keys)
    room = room - weight(reply)
  else
    skipped = skipped + 1
  end
  local failed = type(reply) == 'table' and reply.err
  replies[#replies + 1] = failed and 1 or 0
  replies[#replies + 1] = failed or reply
  at = at + 3 + keys + length
end
if skipped > 0 then redis.call('HINCRBY', KEYS[1], 'left', skipped) end
return replies
