"""Row filters of PyIceberg as conditions of Spark SQL."""

from typing import Final

from pyiceberg.expressions import (
    And,
    BooleanExpression,
    BoundEqualTo,
    BoundGreaterThan,
    BoundGreaterThanOrEqual,
    BoundLessThan,
    BoundLiteralPredicate,
)
from pyiceberg.expressions.visitors import bind
from pyiceberg.schema import Schema
from pyiceberg.types import StringType, TimestamptzType
from sqlglot import exp

_OPERATORS: Final[dict[type[BoundLiteralPredicate], str]] = {
    BoundEqualTo: "=",
    BoundGreaterThan: ">",
    BoundGreaterThanOrEqual: ">=",
    BoundLessThan: "<",
}


def spark_condition(schema: Schema, row_filter: BooleanExpression) -> str:
    """Translate a filter of `gourmetgram.lakehouse.filters`, or an `And` of such filters.

    Args:
        schema: schema of the Iceberg table.
        row_filter: on columns of texts and times.

    Raises:
        NotImplementedError: the filter has another form.
    """
    return _condition(bind(schema, row_filter, case_sensitive=True))


def _condition(bound: BooleanExpression) -> str:
    if isinstance(bound, And):
        return f"({_condition(bound.left)}) AND ({_condition(bound.right)})"
    if isinstance(bound, BoundLiteralPredicate) and type(bound) in _OPERATORS:
        column = exp.column(bound.term.ref().field.name, quoted=True).sql("spark")
        return f"{column} {_OPERATORS[type(bound)]} {_literal(bound)}"
    raise NotImplementedError(f"the filter {bound} has no form in Spark SQL yet")


def _literal(bound: BoundLiteralPredicate) -> str:
    kind, value = bound.term.ref().field.field_type, bound.literal.value
    if isinstance(kind, TimestamptzType):
        return f"timestamp_micros({value})"
    if isinstance(kind, StringType):
        return exp.Literal.string(value).sql("spark")
    raise NotImplementedError(f"a filter on a column of {kind} has no form in Spark SQL yet")
