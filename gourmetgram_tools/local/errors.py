"""Errors of a stack."""

from gourmetgram.errors import PlatformError


class StackError(PlatformError):
    """A command on a stack failed; the text gives the reason and a remedy."""
