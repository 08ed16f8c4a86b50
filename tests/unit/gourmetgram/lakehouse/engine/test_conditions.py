"""Filters of PyIceberg mean the same rows as conditions of Spark SQL."""

import pytest
from pyiceberg.expressions import And, Not

from gourmetgram.lakehouse.engine.conditions import spark_condition
from gourmetgram.lakehouse.filters import after, before, between, equals
from gourmetgram.lakehouse.schemas import EVENTS_DEFINITION
from gourmetgram.moments import from_us

SCHEMA = EVENTS_DEFINITION.schema


def test_times_are_whole_microseconds() -> None:
    assert spark_condition(SCHEMA, between("event_time", -1, 7)) == (
        "(`event_time` >= timestamp_micros(-1)) AND (`event_time` < timestamp_micros(7))"
    )
    assert spark_condition(SCHEMA, after("ingested_at", from_us(5))) == "`ingested_at` > timestamp_micros(5)"
    assert spark_condition(SCHEMA, before("event_time", 5)) == "`event_time` < timestamp_micros(5)"


def test_texts_are_quoted() -> None:
    assert spark_condition(SCHEMA, equals("event_type", "it's")) in (
        "`event_type` = 'it\\'s'",
        "`event_type` = 'it''s'",
    )


def test_parts_of_an_and_are_all_translated() -> None:
    both = spark_condition(SCHEMA, And(equals("event_type", "view"), between("event_time", 0, 1)))
    assert both.count("AND") == 2
    assert "`event_type` = 'view'" in both


def test_another_form_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="no form in Spark SQL"):
        spark_condition(SCHEMA, Not(equals("event_type", "view")))
