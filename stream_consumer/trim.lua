-- Trims the hour's windows of images (ARGV) to what requests may still need.

for _, image in ipairs(ARGV) do trim_image(image) end
