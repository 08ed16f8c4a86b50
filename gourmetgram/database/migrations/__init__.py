"""Versions of the PostgreSQL schema: an Alembic environment, and the one function that applies it."""
