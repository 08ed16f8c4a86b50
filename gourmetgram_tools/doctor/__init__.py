"""What keeps the lab on Docker Compose from working on this machine, and what to do about it."""
