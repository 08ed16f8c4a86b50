"""From the rows of `moderation.training_data` to a model and what it is worth. `gourmetgram train` and the notebook."""
