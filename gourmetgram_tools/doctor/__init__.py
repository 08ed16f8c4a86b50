"""Examination of a machine before the lab on Docker Compose starts: problems, and advice for each."""
