"""Clients of shared servers, one builder each. A module imports one library, so that an image needs only its own."""
