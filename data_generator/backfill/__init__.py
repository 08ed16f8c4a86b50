"""Backfill for training: users, images, views, comments and flags of the last days, reproducible by seed."""
