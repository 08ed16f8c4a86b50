-- Applies one batch (see batch.lua): all of it, or nothing if one of the first two checks fails.
--
-- Answers {'moved'}                    a partition has another offset than the caller expects
--         {'seen', index, ...}         these events (1-based) were applied before: leave them out and call again
--         {'applied', totals, alerts, milestones, failures}   totals per group; the others are JSON

if has_moved() then return { 'moved' } end

local seen = { 'seen' }
for_each_hour(function(key, ids, first, last, indexes)
  for at, known in ipairs(redis.call('SMISMEMBER', key, unpack(ids, first, last))) do
    if known == 1 then
      local place = first + at - 1
      seen[#seen + 1] = indexes and indexes[place] or place - ids_base
    end
  end
end)
if #seen > 1 then return seen end

remember_ids()

for _, position in ipairs(batch.positions) do
  redis.call('HSET', keys.offsets, position[1], position[3])
  redis.call('HSET', keys.last_records, position[1], position[6])
end

-- --- Conditions -----------------------------------------------------------------------------------------------------

local alerts = {}
local milestones = {}
local history = {}
for _, index in ipairs(batch.history) do history[index] = true end

local function uuid(raw)
  local hex = string.gsub(raw, '.', function(byte) return string.format('%02x', string.byte(byte)) end)
  return string.format('%s-%s-%s-%s-%s', hex:sub(1, 8), hex:sub(9, 12), hex:sub(13, 16), hex:sub(17, 20), hex:sub(21))
end

-- Adds an alert, and stores its request until the broker has confirmed it.
local function raise(image, condition, index, t, counted, counts)
  local source = batch.positions[batch.source[index]]
  local alert = {
    image_id = image,
    trigger = condition.trigger,
    event_id = uuid(ARGV[ids_base + index]),
    time_us = string.format('%.0f', t),
    topic = source[4],
    partition = source[5],
    offset = batch.offsets[index],
    count = counted,
    counts = counts,
    request = condition.request,
  }
  alerts[#alerts + 1] = alert
  if condition.request then
    local identity = image .. '/' .. condition.trigger .. '/' .. alert.event_id
    redis.call('HSET', string.format(keys.pending, source[5]), identity, cjson.encode(alert))
    redis.call('ZADD', keys.waiting, 0, waiting_member(image, t, identity))
  end
end

-- Conditions of a kind that an event of this group may meet: an upper bound that costs little.
local function possible(image, kind, key, old, newest, added)
  local found = {}
  local before = redis.call('ZCARD', key)
  for _, rule in ipairs(vocabulary.conditions[kind]) do
    if before + added >= rule.threshold then
      local last = redis.call('GET', alert_key(image, rule.trigger))
      local free_from = last and micros(last) + vocabulary.cool_down_us
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

-- Adds one event after the other; the conditions are checked at the newest time so far.
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
            condition.free_from = t + vocabulary.cool_down_us
            redis.call('SET', alert_key(image, condition.rule.trigger), text(t), 'EX', vocabulary.alert_ttl_s)
            raise(image, condition.rule, index, t, counted, counts)
          end
        end
      end
    end
  end
end

local function reach_milestones(image, kind, first, before, after)
  for _, value in ipairs(vocabulary.milestones[kind] or {}) do
    if before < value and value <= after then
      local at = score_at(first + value - before - 1)
      redis.call('HSET', keys.milestones, image .. '/' .. value, at)
      milestones[#milestones + 1] = { image, value }
    end
  end
end

-- --- Windows and totals ---------------------------------------------------------------------------------------------

local function add_short(image, kind, window, first, last, new, late)
  local key = string.format(keys.window, image, kind, window.name)
  add_all(key, first, last)
  -- Only a late batch can find a newer member in the set.
  local newest = late and newest_score(key) or new
  redis.call('ZREMRANGEBYSCORE', key, '-inf', text(newest - window.width_us))
  redis.call('EXPIRE', key, window.ttl_s)
end

local function add_group(image, kind, first, last, new)
  local key = longest_key(image, kind)
  local old = newest_score(key)
  local late = old and old > new
  local newest = late and old or new
  local conditions = possible(image, kind, key, old, newest, last - first + 1)
  if #conditions > 0 then
    add_one_by_one(image, kind, key, old, first, last, conditions)
  else
    add_all(key, first, last)
  end
  redis.call('EXPIRE', key, longest.ttl_s)
  for _, window in ipairs(vocabulary.short_windows) do
    add_short(image, kind, window, first, last, new, late)
  end
  local total_key = string.format(keys.total, image, kind)
  local total = redis.call('INCRBY', total_key, last - first + 1)
  redis.call('EXPIRE', total_key, vocabulary.idle_ttl_s)
  reach_milestones(image, kind, first, total - (last - first + 1), total)
  return total, newest
end

local function plan_anchor(image, anchor, t, partition)
  if redis.call('EXISTS', alert_key(image, anchor.trigger)) == 1 then return end
  local identity = image .. '/' .. anchor.trigger
  local at = t + anchor.after_us
  if redis.call('ZADD', string.format(keys.anchors, partition), 'NX', text(at), identity) == 1 then
    redis.call('ZADD', keys.waiting, 0, waiting_member(image, at, identity))
  end
end

local function add_upload(upload)
  local key = string.format(keys.metadata, upload.image)
  redis.call('HSET', key, 'category', upload.category, 'caption_length', upload.caption_length,
    'uploaded_at', upload.uploaded_at, 'user_id', upload.user_id)
  redis.call('EXPIRE', key, vocabulary.idle_ttl_s)
  if history[upload.index] then return end
  local t = micros(upload.uploaded_at)
  for _, trigger in ipairs(vocabulary.upload_triggers) do
    if redis.call('SET', alert_key(upload.image, trigger), upload.uploaded_at, 'NX', 'EX', vocabulary.once_ttl_s) then
      raise(upload.image, { trigger = trigger, request = true }, upload.index, t, 1, {})
    end
  end
  for _, anchor in ipairs(vocabulary.anchors) do
    plan_anchor(upload.image, anchor, t, batch.positions[batch.source[upload.index]][5])
  end
end

-- A key of a wrong type (changed by hand) fails its own image's windows, not the batch: earlier changes of the batch
-- are applied already, and a second attempt would count them twice.
local failures = {}
local function guarded(image, work, ...)
  local answer = { pcall(work, ...) }
  if answer[1] then return answer[2], answer[3] end
  failures[#failures + 1] = { image, tostring(type(answer[2]) == 'table' and answer[2].err or answer[2]) }
end

for _, upload in ipairs(batch.uploads) do guarded(upload.image, add_upload, upload) end

local totals, newest = {}, {}
for at, group in ipairs(batch.groups) do
  local total, time = guarded(group[1], add_group, group[1], group[2], group[3], group[4], group[5])
  totals[at], newest[at] = total or 0, time or false
end

-- Trimming comes last: requests that this batch has raised need their members, too.
local anything_waits = redis.call('EXISTS', keys.waiting) == 1
for at, group in ipairs(batch.groups) do
  if newest[at] then
    local horizon = anything_waits and earliest_waiting(group[1]) or nil
    local unread = group[6] ~= cjson.null and group[6] or nil
    if unread and not (horizon and horizon < unread) then horizon = unread end
    trim_longest(longest_key(group[1], group[2]), newest[at], horizon)
  end
end

return { 'applied', totals, cjson.encode(alerts), cjson.encode(milestones), cjson.encode(failures) }
