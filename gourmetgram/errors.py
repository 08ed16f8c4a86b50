"""Errors of the platform: one base class, and one subclass for each reaction of the caller."""


class PlatformError(Exception):
    """Base of every error that the platform raises on purpose; its text is a sentence for people."""


class SettingsError(PlatformError):
    """A setting is missing or wrong. The process must not start; the text names the variable."""


class TransientError(PlatformError):
    """A server (broker, Redis, PostgreSQL, object store) is away or too slow: wait and try again."""


class OutcomeUnknownError(TransientError):
    """The answer to a commit is lost: the change may be stored or not. Repeat only what may happen twice."""


class PermanentError(PlatformError):
    """Trying again cannot help: the input itself is wrong. Workers send it to the dead-letter topic."""


def first_line(error: BaseException) -> str:
    """First line of a library's error; the rest is often a statement or a stack."""
    return str(error).strip().partition("\n")[0]
