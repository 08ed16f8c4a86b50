"""Policy: actors whose events count (eligibility), and the rules that score (heuristic)."""
