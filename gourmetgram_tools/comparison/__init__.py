"""Rules and model side by side: on stored decisions, and on held-out images with a known label."""
