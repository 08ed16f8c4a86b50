"""Clients of shared servers, one builder each.

A module imports one client library, so an image installs only its own.
"""
