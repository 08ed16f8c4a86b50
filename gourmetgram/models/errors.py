"""Errors about models."""

from gourmetgram.errors import PermanentError


class ArtifactError(PermanentError):
    """The artifacts are no model that may be served; the text gives the reason."""
