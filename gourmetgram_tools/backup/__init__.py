"""Backup of all stores to one consistent point, and restore into empty ones (docs/decisions/backup.md)."""
