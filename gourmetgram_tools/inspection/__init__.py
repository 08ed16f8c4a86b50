"""Looking at the platform from outside: following one image through every store, and comparing the stores.

Readers (`kafka_reading`, `rows`, `redis_state`, `objects`) fetch; `history`, `triggers`, `checks` and `timeline` are
pure functions of what was fetched; `trace`, `audit` and `burst` put them together. Nothing here writes to a store.
"""
