-- Adds events of a batch (see batch.lua) that were applied before to the longest windows again, and to the memory of ids.
-- Totals, alerts, requests and offsets stay. Windows are trimmed later, when no unread event needs their counts.
--
-- Answers 1, or 0 when a partition has another offset than the caller expects.

if has_moved() then return 0 end

remember_ids()

local function add_again(image, kind, first, last)
  local key = longest_key(image, kind)
  add_all(key, first, last)
  redis.call('EXPIRE', key, longest.ttl_s)
end

-- A key of a wrong type is reported when its next event is applied.
for _, group in ipairs(batch.groups) do pcall(add_again, group[1], group[2], group[3], group[4]) end
return 1
