"""What this command knows of the lab on Docker Compose: its passwords, ports and pages."""
