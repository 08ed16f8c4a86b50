"""The one Kafka layer of the platform, on confluent-kafka (librdkafka).

- `partitions`: names of partitions and positions in them.
- `clients`: configured producers and consumers.
- `publish`: messages, each confirmed by the broker.
- `dead_letters`: the one policy for records that cannot be processed.
- `status`: connection to the broker, and lag, from a client's statistics.
- `offsets`: committed offsets of a consumer group.
- `ranges`: a fixed range of offsets, read exactly.
- `continuity`: detection of a log that lost records and was filled again.
- `records`: consumed messages as records.
- `metadata`: existence and identity of topics.
"""
