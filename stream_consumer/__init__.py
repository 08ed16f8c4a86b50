"""The stream consumer: events from Kafka become windows in Redis and moderation requests."""
