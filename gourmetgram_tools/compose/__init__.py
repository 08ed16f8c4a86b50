"""The lab on Docker Compose as seen from outside: its passwords, ports and pages."""
