"""Versions of the PostgreSQL schema: an Alembic environment and its revisions."""
