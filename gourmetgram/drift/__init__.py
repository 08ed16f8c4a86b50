"""Drift: served features compared with those that the served model was trained on."""
