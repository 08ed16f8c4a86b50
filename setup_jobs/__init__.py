"""Set-up jobs of the Compose lab: each prepares one server, is idempotent, and ends non-zero on failure."""
