"""Benchmarks of the platform: what it does per second, beside what its servers could do at most, in one run."""
