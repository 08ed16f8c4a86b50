"""Inspection of a running platform from outside: the trace of one image, the audit of all stores, the skew of features.

Readers, one per store: `kafka_records`, `rows`, `redis_state`, `objects` and `lakehouse`. They return the records of
one image or fill the DuckDB tables of `tables`. `derived` and `triggers` derive facts from the tables, `checks`
compares them, and `timeline` orders a trace. `trace`, `event_trace`, `audit` and `skew` put these together and write to
no store. `burst` sends events through the API.
"""
