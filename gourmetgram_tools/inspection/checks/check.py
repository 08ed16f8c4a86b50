"""The form of a check: a statement, and the SQL that finds what contradicts it."""

from dataclasses import dataclass, field
from typing import NamedTuple

from gourmetgram_tools.inspection.tables import StoreTables, TableValue


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: short and stable; JSON readers and tests rely on it.
        proves: the statement that holds when there is no difference.
        expected: number of things that must exist.
        actual: number of them that exist.
        differences: one sentence for each contradiction.
    """

    name: str
    proves: str
    expected: int
    actual: int
    differences: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """The statement holds."""
        return not self.differences


@dataclass(frozen=True)
class Note:
    """Something worth knowing that is no difference."""

    name: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class CheckQuery:
    """A check to run on the stores' tables.

    Attributes:
        name: see `Check`.
        proves: see `Check`.
        numbers: query of one row: the expected number, and the actual one.
        differences: query whose rows are a sentence for each difference.
        given: `WITH` clause of both queries.
        parameters: values of `$name` in both queries.
    """

    name: str
    proves: str
    numbers: str
    differences: str
    given: str = ""
    parameters: dict[str, TableValue] = field(default_factory=dict)

    def run(self, tables: StoreTables) -> Check:
        """Compare the stores."""
        ((expected, actual),) = tables.rows(self.given + self.numbers, self.parameters)
        found = tables.rows(self.given + self.differences, self.parameters)
        return Check(self.name, self.proves, int(expected or 0), int(actual or 0), tuple(text for (text,) in found))


class NoteQuery(NamedTuple):
    """A note to take: query of its examples, and of how many things each example stands for."""

    name: str
    examples: str
