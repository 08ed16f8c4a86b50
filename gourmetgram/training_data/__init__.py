"""From database rows and event history to the training rows of `moderation.training_data`."""
