#!/usr/bin/env bash
# The six topics, with the settings that the platform's rules rest on. Safe to run again: missing topics are created,
# settings that differ are corrected, and every failure ends it with a non-zero code.
set -euo pipefail
shopt -s inherit_errexit

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

topic() {
    rpk topic "$@" -X "brokers=$brokers"
}

# Prints a topic's number of partitions, or nothing when there is no such topic.
partitions_of() {
    awk -v topic="$1" '$1 == topic { print $2 }' <<<"$listed"
}

# Prints those of the settings that a topic does not have.
different() {
    local described setting
    described="$(topic describe "$1" --print-configs)"
    for setting in "${settings[@]}"; do
        awk -v key="${setting%%=*}" -v value="${setting#*=}" '$1 == key && $2 == value { found = 1 } END { exit !found }' \
            <<<"$described" || echo "$setting"
    done
}

# rpk reports some failures in its output only, so the settings are read again after they were set.
correct() {
    local wrong still set=()
    wrong="$(different "$1")"
    [[ -n "$wrong" ]] || return 0
    echo "Correcting $1:" $wrong
    while read -r setting; do set+=(--set "$setting"); done <<<"$wrong"
    # Newer versions ask a question first.
    if rpk topic alter-config --help 2>&1 | grep -q -- --no-confirm; then set+=(--no-confirm); fi
    topic alter-config "$1" "${set[@]}"
    still="$(different "$1")"
    if [[ -n "$still" ]]; then
        echo "Topic $1 did not take" $still >&2
        return 1
    fi
}

# A typing error in a topic's name must be an error, not a new topic.
rpk cluster config set auto_create_topics_enabled false -X "admin.hosts=$admin"

listed="$(topic list)"
missing=()
for name in "${topics[@]}"; do
    count="$(partitions_of "$name")"
    if [[ -z "$count" ]]; then
        missing+=("$name")
    elif ((count < partitions)); then
        topic add-partitions "$name" --num "$((partitions - count))"
    elif ((count > partitions)); then
        echo "Topic $name has $count partitions instead of $partitions, and none can be taken away: delete it" \
            "(its events are lost) and run this again." >&2
        exit 1
    fi
done

if ((${#missing[@]})); then
    config=()
    for setting in "${settings[@]}"; do config+=(--topic-config "$setting"); done
    topic create "${missing[@]}" --partitions "$partitions" --replicas 1 "${config[@]}"
fi
for name in "${topics[@]}"; do correct "$name"; done

listed="$(topic list)"
for name in "${topics[@]}"; do
    if [[ "$(partitions_of "$name")" != "$partitions" ]]; then
        echo "Topic $name does not have $partitions partitions after all." >&2
        exit 1
    fi
done
echo "$listed"
