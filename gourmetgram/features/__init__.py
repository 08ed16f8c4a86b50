"""The 29 features: one definition, read online (Redis, PostgreSQL) and offline (Iceberg)."""
