-- Trims the longest windows of images (ARGV[2 .. ]) to the members that pending requests may still need.

for place = 2, #ARGV do trim_image(ARGV[place]) end
