"""Who may be judged and learned from (eligibility), and how the rules judge (heuristic)."""
