"""The platform's own vocabulary: settings, events, features, policy, and access to its stores.

Every service imports this package; nothing in it knows a service.
"""
