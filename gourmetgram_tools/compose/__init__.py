"""Facts about the lab on Docker Compose: its passwords, ports and pages."""
