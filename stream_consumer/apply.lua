-- Applies one batch: all of it or, when the first two checks fail, nothing.
--
-- ARGV[1]       JSON header (see store.py)
-- ARGV[2 .. ]   16-byte ids of the events, in the order of the groups, then those of the uploads
-- then          score, member of each event of the groups (uploads have none)
--
-- Answers {'moved'}                    a partition stands elsewhere than the caller thinks
--         {'seen', index, ...}         these events (1-based) were applied before: leave them out and call again
--         {'applied', totals, alerts, milestones, failures}   totals per group; the others are JSON

local header = cjson.decode(ARGV[1])
local size = header.size
local pairs_base = 1 + size
-- Values handed to one command. Lua's stack takes about 8,000.
local CHUNK = 2000

for _, position in ipairs(header.positions) do
  local applied = redis.call('HGET', OFFSETS, position[1]) or ''
  if applied ~= position[2] then return { 'moved' } end
end

-- --- Events that came before, at another offset ---------------------------------------------------------------------

local function seen_key(hour)
  return 'consumer:seen:' .. hour
end

-- Calls use(key, ids, first, last, indexes) for parts of the batch; indexes is nil when they are first, first + 1, ...
local function for_each_hour(use)
  if #header.hours == 1 then
    for first = 1, size, CHUNK do
      use(seen_key(header.hours[1]), ARGV, 1 + first, 1 + math.min(first + CHUNK - 1, size), nil)
    end
    return
  end
  for number, hour in ipairs(header.hours) do
    local ids, indexes = {}, {}
    for index = 1, size do
      if header.hour_of[index] == number then
        ids[#ids + 1] = ARGV[1 + index]
        indexes[#indexes + 1] = index
      end
    end
    for first = 1, #ids, CHUNK do
      use(seen_key(hour), ids, first, math.min(first + CHUNK - 1, #ids), indexes)
    end
  end
end

local seen = { 'seen' }
for_each_hour(function(key, ids, first, last, indexes)
  for at, known in ipairs(redis.call('SMISMEMBER', key, unpack(ids, first, last))) do
    if known == 1 then
      local place = first + at - 1
      seen[#seen + 1] = indexes and indexes[place] or place - 1
    end
  end
end)
if #seen > 1 then return seen end

for_each_hour(function(key, ids, first, last)
  redis.call('SADD', key, unpack(ids, first, last))
  redis.call('EXPIRE', key, header.seen_ttl)
end)

for _, position in ipairs(header.positions) do
  redis.call('HSET', OFFSETS, position[1], position[3])
end

-- --- Conditions -----------------------------------------------------------------------------------------------------

local alerts = {}
local milestones = {}
local history = {}
for _, index in ipairs(header.history) do history[index] = true end

local function uuid(raw)
  local hex = string.gsub(raw, '.', function(byte) return string.format('%02x', string.byte(byte)) end)
  return string.format('%s-%s-%s-%s-%s', hex:sub(1, 8), hex:sub(9, 12), hex:sub(13, 16), hex:sub(17, 20), hex:sub(21))
end

local function alert_key(image, trigger)
  return 'image:' .. image .. ':alert:' .. trigger
end

-- Remember an alert, and the request it asks for until the broker has it.
local function raise(image, condition, index, t, counted, counts)
  local source = header.positions[header.source[index]]
  local alert = {
    image_id = image,
    trigger = condition.trigger,
    event_id = uuid(ARGV[1 + index]),
    time_us = string.format('%.0f', t),
    topic = source[4],
    partition = source[5],
    offset = header.offsets[index],
    count = counted,
    counts = counts,
    request = condition.request,
  }
  alerts[#alerts + 1] = alert
  if condition.request then
    local identity = image .. '/' .. condition.trigger .. '/' .. alert.event_id
    redis.call('HSET', PENDING .. source[5], identity, cjson.encode(alert))
    redis.call('ZADD', WAITING, 0, waiting_member(image, t, identity))
  end
end

-- The conditions of a kind that some event of this group may meet: an upper bound that costs little.
local function possible(image, kind, key, old, newest, added)
  local found = {}
  local before = redis.call('ZCARD', key)
  for _, rule in ipairs(header.conditions[kind]) do
    if before + added >= rule.threshold then
      local last = redis.call('GET', alert_key(image, rule.trigger))
      local free_from = last and micros(last) + header.cool_down_us
      if not (free_from and newest < free_from) then
        local in_window = old and redis.call('ZCOUNT', key, '(' .. text(old - rule.window_us), '+inf') or 0
        if in_window + added >= rule.threshold then
          found[#found + 1] = { rule = rule, free_from = free_from }
        end
      end
    end
  end
  return found
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

-- One event after the other, each judged at the newest time so far.
local function add_one_by_one(image, kind, key, t, first, last, conditions)
  for index = first, last do
    redis.call('ZADD', key, score_at(index), member_at(index))
    local own = micros(score_at(index))
    t = (t and t > own) and t or own
    if not history[index] then
      for _, condition in ipairs(conditions) do
        if not (condition.free_from and t < condition.free_from) then
          local counted = count(key, t, condition.rule.window_us)
          if counted >= condition.rule.threshold then
            local counts = {}
            add_counts(counts, image, kind, t)
            condition.free_from = t + header.cool_down_us
            redis.call('SET', alert_key(image, condition.rule.trigger), text(t), 'EX', header.alert_ttl)
            raise(image, condition.rule, index, t, counted, counts)
          end
        end
      end
    end
  end
end

local function reach_milestones(image, first, before, after)
  for _, value in ipairs(header.milestones) do
    if before < value and value <= after then
      local at = score_at(first + value - before - 1)
      redis.call('HSET', MILESTONES, image .. '/' .. value, at)
      milestones[#milestones + 1] = { image, value }
    end
  end
end

-- --- Windows and totals ---------------------------------------------------------------------------------------------

local function add_short(image, kind, window, first, last, new, late)
  local key = window_key(image, kind, window)
  add_all(key, first, last)
  -- Only a late batch can find something newer in the set.
  local newest = late and newest_score(key) or new
  redis.call('ZREMRANGEBYSCORE', key, '-inf', text(newest - WINDOW_US[window]))
  redis.call('EXPIRE', key, header.ttl[window])
end

local function add_group(image, kind, first, last, new)
  local key = window_key(image, kind, '1hr')
  local old = newest_score(key)
  local late = old and old > new
  local newest = late and old or new
  local conditions = possible(image, kind, key, old, newest, last - first + 1)
  if #conditions > 0 then
    add_one_by_one(image, kind, key, old, first, last, conditions)
  else
    add_all(key, first, last)
  end
  redis.call('EXPIRE', key, header.ttl['1hr'])
  add_short(image, kind, '1min', first, last, new, late)
  add_short(image, kind, '5min', first, last, new, late)
  local total_key = 'image:' .. image .. ':total_' .. kind
  local total = redis.call('INCRBY', total_key, last - first + 1)
  redis.call('EXPIRE', total_key, header.idle_ttl)
  if kind == 'views' then reach_milestones(image, first, total - (last - first + 1), total) end
  return total, newest
end

local function plan_anchor(image, minutes, t, partition)
  local trigger = 'anchor_' .. minutes
  if redis.call('EXISTS', alert_key(image, trigger)) == 1 then return end
  local identity = image .. '/' .. trigger
  local at = t + minutes * 60000000
  if redis.call('ZADD', ANCHORS .. partition, 'NX', text(at), identity) == 1 then
    redis.call('ZADD', WAITING, 0, waiting_member(image, at, identity))
  end
end

local function add_upload(upload)
  local key = 'image:' .. upload.image .. ':metadata'
  redis.call('HSET', key, 'category', upload.category, 'caption_length', upload.caption_length,
    'uploaded_at', upload.uploaded_at, 'user_id', upload.user_id)
  redis.call('EXPIRE', key, header.idle_ttl)
  if history[upload.index] then return end
  local t = micros(upload.uploaded_at)
  if header.trigger_on_upload
    and redis.call('SET', alert_key(upload.image, 'upload'), upload.uploaded_at, 'NX', 'EX', header.once_ttl) then
    raise(upload.image, { trigger = 'upload', request = true }, upload.index, t, 1, {})
  end
  for _, minutes in ipairs(header.anchor_minutes) do
    plan_anchor(upload.image, minutes, t, header.positions[header.source[upload.index]][5])
  end
end

-- A key that a person gave another type spoils its own image's windows, not the batch: everything before it is done
-- already, and trying again would count it twice.
local failures = {}
local function guarded(image, work, ...)
  local answer = { pcall(work, ...) }
  if answer[1] then return answer[2], answer[3] end
  failures[#failures + 1] = { image, tostring(type(answer[2]) == 'table' and answer[2].err or answer[2]) }
end

for _, upload in ipairs(header.uploads) do guarded(upload.image, add_upload, upload) end

local totals, newest = {}, {}
for at, group in ipairs(header.groups) do
  local total, time = guarded(group[1], add_group, group[1], group[2], group[3], group[4], group[5])
  totals[at], newest[at] = total or 0, time or false
end

-- Trimming comes last: what this batch itself has asked for holds members back too.
local anything_waits = redis.call('EXISTS', WAITING) == 1
for at, group in ipairs(header.groups) do
  if newest[at] then
    local undecided = anything_waits and earliest_waiting(group[1]) or nil
    local floor = group[6] ~= cjson.null and group[6] or nil
    if floor and not (undecided and undecided < floor) then undecided = floor end
    trim_hour(window_key(group[1], group[2], '1hr'), newest[at], undecided)
  end
end

return { 'applied', totals, cjson.encode(alerts), cjson.encode(milestones), cjson.encode(failures) }
