-- Shared by all scripts. ARGV[1] is the vocabulary as JSON (see scripts.py): names of keys, windows, TTLs.
-- Times are integers of microseconds; Redis stores them as seconds with six decimals.
-- A double holds whole microseconds exactly until the year 2255, and distinct ones stay distinct as scores.

local vocabulary = cjson.decode(ARGV[1])
local keys = vocabulary.keys
local longest = vocabulary.longest_window

local function text(us)
  local sign = ''
  if us < 0 then sign, us = '-', -us end
  local seconds = math.floor(us / 1000000)
  return string.format('%s%.0f.%06d', sign, seconds, us - seconds * 1000000)
end

local function micros(seconds)
  return math.floor(tonumber(seconds) * 1000000 + 0.5)
end

-- Key of the 1hr set, which holds the members of every window of an image and kind.
local function longest_key(image, kind)
  return string.format(keys.window, image, kind, longest.name)
end

local function alert_key(image, trigger)
  return string.format(keys.alert, image, trigger)
end

-- Number of members in (t - window, t].
local function count(key, t, window_us)
  return redis.call('ZCOUNT', key, '(' .. text(t - window_us), text(t))
end

-- Adds all counts of a kind as of t, by their names in a request's context.
local function add_counts(counts, image, kind, t)
  local key = longest_key(image, kind)
  for _, counted in ipairs(vocabulary.counts[kind]) do
    counts[counted.name] = count(key, t, counted.width_us)
  end
end

local function waiting_member(image, t, identity)
  return string.format('%s/%017.0f/%s', image, t, identity)
end

-- Earliest t of an image's pending requests and anchors, or nil. Members sort by image, then by time.
local function earliest_waiting(image)
  local found = redis.call('ZRANGEBYLEX', keys.waiting, '[' .. image .. '/', '(' .. image .. '0', 'LIMIT', 0, 1)
  return found[1] and tonumber(string.match(found[1], '^[^/]+/(%d+)/'))
end

-- Removes members that neither the newest window nor a count as of the retention horizon needs; horizon may be nil.
local function trim_longest(key, newest, horizon)
  local kept_from = horizon and math.min(horizon, newest) or newest
  redis.call('ZREMRANGEBYSCORE', key, '-inf', text(kept_from - longest.width_us))
end

local function newest_score(key)
  local top = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
  return top[2] and micros(top[2])
end

