"""Random faults under traffic, drawn from a seed, and a checker that compares the clients' own history with the stores.

The idea is that of Jepsen: the system is asked for nothing but its answers, and the answers must agree with what is
stored. `python -m tests.chaos.nemesis` runs it for a chosen time; `test_nemesis.py` is the short run of CI.
"""
