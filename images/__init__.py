"""Pictures of the lab, and the programs that draw them from their sources."""
