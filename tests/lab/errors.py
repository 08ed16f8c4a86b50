"""What can go wrong with a rehearsal itself (a step that fails is a result, not an error)."""

from gourmetgram.errors import PlatformError


class RehearsalError(PlatformError):
    """The rehearsal cannot go on; the text says why and what to do."""


class NotSeenError(PlatformError):
    """A step did not show what the lab promises; the text says what was seen instead."""


def expect(condition: object, complaint: str) -> None:
    """Raise NotSeenError with the complaint unless the condition holds."""
    if not condition:
        raise NotSeenError(complaint)
