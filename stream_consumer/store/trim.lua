-- Trims the longest windows of images (ARGV[2 .. ]) to the members that pending requests may still need.

local function trim_image(image)
  local horizon = earliest_waiting(image)
  for _, kind in ipairs(vocabulary.kinds) do
    local key = longest_key(image, kind)
    local newest = newest_score(key)
    if newest then trim_longest(key, newest, horizon) end
  end
end

for place = 2, #ARGV do trim_image(ARGV[place]) end
