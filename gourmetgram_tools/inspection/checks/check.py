"""Form of a check: a statement, and the SQL that finds contradictions to it."""

from dataclasses import dataclass, field
from typing import NamedTuple

from gourmetgram_tools.inspection.tables import StoreTables, TableValue


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: short and stable; JSON readers and tests rely on it.
        proves: statement that holds without a difference.
        expected: number of items that must exist.
        actual: number of those that exist.
        differences: one sentence for each contradiction.
    """

    name: str
    proves: str
    expected: int
    actual: int
    differences: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True when the statement holds."""
        return not self.differences


@dataclass(frozen=True)
class Note:
    """An observation for people that is no difference."""

    name: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class CheckQuery:
    """A check to run on the tables of the stores.

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
        """Run the check on the tables."""
        ((expected, actual),) = tables.rows(self.given + self.numbers, self.parameters)
        found = tables.rows(self.given + self.differences, self.parameters)
        return Check(self.name, self.proves, int(expected or 0), int(actual or 0), tuple(text for (text,) in found))


class NoteQuery(NamedTuple):
    """A note to take: query of its examples, each with the number of items it stands for."""

    name: str
    examples: str
