-- What both scripts share. Times are integers of microseconds; in Redis they stand as seconds with six decimals.
-- A double holds whole microseconds exactly until the year 2255, and distinct ones stay distinct as scores.

local OFFSETS = 'consumer:offsets'        -- hash: <topic>/<partition> -> next offset to apply
local WAITING = 'consumer:waiting'        -- zset, all scores 0: <image>/<t, 17 digits>/<identity>, the undecided requests
local MILESTONES = 'consumer:milestones'  -- hash: <image>/<value> -> when it was reached; not in PostgreSQL yet
local PENDING = 'consumer:pending:'       -- hash per partition: <identity> -> request that the broker has not confirmed
local ANCHORS = 'consumer:anchors:'       -- zset per partition: <image>/anchor_<m>, score t

local HOUR_US = 3600000000
local WINDOW_US = { ['1min'] = 60000000, ['5min'] = 300000000, ['1hr'] = HOUR_US }
local KINDS = { 'views', 'comments', 'flags' }
local COUNTED = { views = { '5min', '1hr' }, comments = { '1min', '5min', '1hr' }, flags = { '5min', '1hr' } }

local function text(us)
  local sign = ''
  if us < 0 then sign, us = '-', -us end
  local seconds = math.floor(us / 1000000)
  return string.format('%s%.0f.%06d', sign, seconds, us - seconds * 1000000)
end

local function micros(seconds)
  return math.floor(tonumber(seconds) * 1000000 + 0.5)
end

local function window_key(image, kind, window)
  return 'image:' .. image .. ':' .. kind .. ':' .. window
end

-- Members in (t - window, t].
local function count(key, t, window_us)
  return redis.call('ZCOUNT', key, '(' .. text(t - window_us), text(t))
end

-- All counts of a kind as of t, by their names in a request's context. The 1hr set holds them all.
local function add_counts(counts, image, kind, t)
  local key = window_key(image, kind, '1hr')
  for _, window in ipairs(COUNTED[kind]) do
    counts[kind .. '_' .. window] = count(key, t, WINDOW_US[window])
  end
end

local function waiting_member(image, t, identity)
  return string.format('%s/%017.0f/%s', image, t, identity)
end

-- The earliest t of an image that is still undecided, or nil. Members sort by image, then by time.
local function earliest_waiting(image)
  local found = redis.call('ZRANGEBYLEX', WAITING, '[' .. image .. '/', '(' .. image .. '0', 'LIMIT', 0, 1)
  return found[1] and tonumber(string.match(found[1], '^[^/]+/(%d+)/'))
end

-- Forget what neither the newest window nor an undecided request can need.
local function trim_hour(key, newest, undecided)
  local kept_from = undecided and math.min(undecided, newest) or newest
  redis.call('ZREMRANGEBYSCORE', key, '-inf', text(kept_from - HOUR_US))
end

local function newest_score(key)
  local top = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
  return top[2] and micros(top[2])
end

local function trim_image(image)
  local undecided = earliest_waiting(image)
  for _, kind in ipairs(KINDS) do
    local key = window_key(image, kind, '1hr')
    local newest = newest_score(key)
    if newest then trim_hour(key, newest, undecided) end
  end
end

