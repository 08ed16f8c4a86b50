-- A batch as the argument of a script (see batch.py).
--
-- ARGV[2]       the call as JSON
-- ARGV[3 .. ]   16-byte ids of the events, in the order of the groups, then those of the uploads
-- then          score, member of each event of the groups (uploads have none)

local batch = cjson.decode(ARGV[2])
local size = batch.size
local ids_base = 2
local pairs_base = ids_base + size
-- Arguments of one command. Lua's stack takes about 8,000.
local CHUNK = 2000

-- True when a partition has another offset than the caller expects.
local function has_moved()
  for _, position in ipairs(batch.positions) do
    local applied = redis.call('HGET', keys.offsets, position[1]) or ''
    if applied ~= position[2] then return true end
  end
  return false
end

local function seen_key(hour)
  return string.format(keys.seen, hour)
end

-- Calls use(key, ids, first, last, indexes) for parts of the batch; indexes is nil when they are first, first + 1, ...
local function for_each_hour(use)
  if #batch.hours == 1 then
    for first = 1, size, CHUNK do
      use(seen_key(batch.hours[1]), ARGV, ids_base + first, ids_base + math.min(first + CHUNK - 1, size), nil)
    end
    return
  end
  for number, hour in ipairs(batch.hours) do
    local ids, indexes = {}, {}
    for index = 1, size do
      if batch.hour_of[index] == number then
        ids[#ids + 1] = ARGV[ids_base + index]
        indexes[#indexes + 1] = index
      end
    end
    for first = 1, #ids, CHUNK do
      use(seen_key(hour), ids, first, math.min(first + CHUNK - 1, #ids), indexes)
    end
  end
end

local function remember_ids()
  for_each_hour(function(key, ids, first, last)
    redis.call('SADD', key, unpack(ids, first, last))
    redis.call('EXPIRE', key, vocabulary.seen_ttl_s)
  end)
end

local function score_at(index) return ARGV[pairs_base + 2 * index - 1] end
local function member_at(index) return ARGV[pairs_base + 2 * index] end

local function add_all(key, first, last)
  local step = CHUNK / 2
  for from = first, last, step do
    local to = math.min(from + step - 1, last)
    redis.call('ZADD', key, unpack(ARGV, pairs_base + 2 * from - 1, pairs_base + 2 * to))
  end
end

