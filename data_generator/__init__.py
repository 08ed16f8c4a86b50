"""Traffic for the platform: people who upload, view, comment and flag, and the data set they upload from.

Nothing is imported here: `extract_data` and `transform_data` run in a Python without any dependency.
"""
