"""The Iceberg tables: their schemas, exactly-once aggregation of the event topics, and their maintenance.

The snapshot of a table holds its progress: no state outside the tables decides the next range to read.
"""
