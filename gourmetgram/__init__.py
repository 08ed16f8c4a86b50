"""Core of the platform: settings, events, features, policy, and access to its stores.

Every service imports this package. It imports no service.
"""
