"""Traffic for the platform: users that upload, view, comment and flag, and the data set of their pictures.

This file imports nothing: `extract_data` and `transform_data` run in a Python without any package.
"""
