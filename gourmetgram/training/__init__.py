"""Training of a model from `moderation.training_data`, and its evaluation.

The command `gourmetgram train` and the notebook use it.
"""
