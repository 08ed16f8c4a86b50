"""Rules and model side by side: on decisions that were made, and on images whose outcome is known."""
