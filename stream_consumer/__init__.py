"""The stream consumer: events from Kafka become windows in Redis and requests to judge images."""
