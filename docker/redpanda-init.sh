#!/usr/bin/env bash
# The six topics, with the settings that the platform's rules rest on. Safe to run again: missing topics are created,
# settings that differ are corrected, and every failure ends it with a non-zero code.
set -euo pipefail

brokers="${KAFKA_BOOTSTRAP_SERVERS:-redpanda:9092}"
admin="${REDPANDA_ADMIN:-redpanda:9644}"
partitions=4
topics=(
    gourmetgram.uploads
    gourmetgram.views
    gourmetgram.comments
    gourmetgram.flags
    gourmetgram.moderation_requests
    gourmetgram.dead_letter
)
# 30 days, 1 hour, and the broker's own time: rules about late events rest on it.
settings=(retention.ms=2592000000 segment.ms=3600000 message.timestamp.type=LogAppendTime)

# A typing error in a topic's name must be an error, not a new topic.
rpk cluster config set auto_create_topics_enabled false -X "admin.hosts=$admin"

create=() alter=()
for setting in "${settings[@]}"; do
    create+=(-c "$setting")
    alter+=(-s "$setting")
done
rpk topic create "${topics[@]}" --if-not-exists -p "$partitions" -r 1 "${create[@]}" -X "brokers=$brokers"
rpk topic alter-config "${topics[@]}" --no-confirm "${alter[@]}" -X "brokers=$brokers"

# The first columns of the list are name and number of partitions.
listed="$(rpk topic list -X "brokers=$brokers")"
for topic in "${topics[@]}"; do
    count="$(awk -v topic="$topic" '$1 == topic { print $2 }' <<<"$listed")"
    if [[ -z "$count" ]]; then
        echo "Topic $topic is missing although it was just created." >&2
        exit 1
    elif ((count < partitions)); then
        rpk topic add-partitions "$topic" --num "$((partitions - count))" -X "brokers=$brokers"
    elif ((count > partitions)); then
        echo "Topic $topic has $count partitions instead of $partitions, and none can be taken away: delete it" \
            "(its events are lost) and run this again." >&2
        exit 1
    fi
done

rpk topic list -X "brokers=$brokers"
