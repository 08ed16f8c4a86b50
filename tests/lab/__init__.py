"""Rehearsal of the lab on Docker Compose: the student path, step by step, with the real compose file.

pytest collects nothing here; `make rehearse` runs it (docs/rehearsal.md).
"""
