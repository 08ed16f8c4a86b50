"""Set-up jobs of the Compose lab: each prepares one server, may run again, and ends non-zero when it failed."""
