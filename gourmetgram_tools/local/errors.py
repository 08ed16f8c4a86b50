"""Errors of a stack."""

from gourmetgram.errors import PlatformError


class StackError(PlatformError):
    """A stack cannot do what was asked; the text says why and what to do."""
