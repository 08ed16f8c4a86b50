"""The lab on Docker Compose, walked step by step on a machine that reaches no image registry."""
