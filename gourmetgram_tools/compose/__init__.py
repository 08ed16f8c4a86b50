"""The lab on Docker Compose, seen from outside: its passwords, ports and pages."""
