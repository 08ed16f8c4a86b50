"""Images built from packages, which stand in for official ones where no image registry is reachable."""
