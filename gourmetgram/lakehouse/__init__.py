"""The Iceberg tables: their schemas, exactly-once aggregation of the event topics, and their maintenance.

The snapshot of a table says how far it has come: nothing outside the tables decides what is read next.
"""
