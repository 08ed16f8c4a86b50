-- Fixes the context of requests whose co-partitions are applied far enough. A context is fixed once: a repeat after
-- a crash carries the same counts. Windows are trimmed later, when no unread event needs their counts.
--
-- ARGV[2]  JSON list of {identity, partition, image, time_us, source, required, topics}; source is {topic, next offset}
--          or absent (anchors), required is [[field, offset], ...], topics is [[topic, field], ...]
--
-- Answers one text per item: JSON of the request with its context, 'wait', or 'gone' (confirmed already).

local function complete(item)
  for _, need in ipairs(item.required) do
    local applied = redis.call('HGET', keys.offsets, need[1])
    if not applied or tonumber(applied) < need[2] then return false end
  end
  return true
end

local function context_of(item, request, t)
  local context = {}
  for _, kind in ipairs(vocabulary.kinds) do
    add_counts(context, item.image, kind, t)
  end
  -- Counts of the triggering kind were fixed when the condition was met, event by event.
  for name, value in pairs(request.counts) do context[name] = value end
  context.read_to = {}
  for _, topic in ipairs(item.topics) do
    context.read_to[topic[1]] = tonumber(redis.call('HGET', keys.offsets, topic[2])) or 0
  end
  if item.source then context.read_to[item.source[1]] = item.source[2] end
  return context
end

local function anchor_request(item)
  if not redis.call('ZSCORE', string.format(keys.anchors, item.partition), item.identity) then return nil end
  return {
    image_id = item.image,
    trigger = string.match(item.identity, '/(.+)$'),
    time_us = item.time_us,
    partition = item.partition,
    count = 1,
    counts = {},
    request = true,
  }
end

local function freeze(item)
  local pending = string.format(keys.pending, item.partition)
  local stored = redis.call('HGET', pending, item.identity)
  local request = stored and cjson.decode(stored) or anchor_request(item)
  if not request then return 'gone' end
  if request.context then return stored end
  if not complete(item) then return 'wait' end
  local t = tonumber(item.time_us)
  request.context = context_of(item, request, t)
  local frozen = cjson.encode(request)
  redis.call('HSET', pending, item.identity, frozen)
  if not stored then
    redis.call('ZREM', string.format(keys.anchors, item.partition), item.identity)
    redis.call('SET', alert_key(item.image, request.trigger), text(t), 'EX', vocabulary.once_ttl_s)
  end
  redis.call('ZREM', keys.waiting, waiting_member(item.image, t, item.identity))
  return frozen
end

local answers = {}
for at, item in ipairs(cjson.decode(ARGV[2])) do
  answers[at] = freeze(item)
end
return answers
