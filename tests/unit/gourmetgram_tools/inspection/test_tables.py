"""Tables of the audit: values that queries know, rows in batches, and results that are read while tables change."""

from gourmetgram_tools.inspection.tables import open_tables


def test_defined_values_keep_their_type_and_may_change() -> None:
    with open_tables() as tables:
        tables.define(number=5, yes=True, name="it's")
        assert tables.rows("SELECT number() + 1, NOT yes(), name()") == [(6, False, "it's")]
        tables.define(number=2**62)
        assert tables.rows("SELECT number()") == [(2**62,)]


def test_rows_are_loaded_in_batches_and_missing_values_stay_missing() -> None:
    with open_tables() as tables:
        tables.load("milestones", ((None, number) for number in range(45_000)))
        assert tables.rows("SELECT count(*), count(image_id), sum(milestone) FROM milestones") == [
            (45_000, 0, 44_999 * 45_000 // 2)
        ]
        tables.load("milestones", [])


def test_a_result_is_read_while_its_table_grows() -> None:
    with open_tables() as tables:
        tables.load("redis_unreadable", [("a",), ("b",)])
        tables.load("redis_unreadable", ((text * 2,) for (text,) in tables.stream("FROM redis_unreadable")))
        assert sorted(text for (text,) in tables.rows("FROM redis_unreadable")) == ["a", "aa", "b", "bb"]


def test_parameters_that_a_query_does_not_name_are_left_out() -> None:
    with open_tables() as tables:
        assert tables.rows("SELECT $kind", {"kind": "view", "noun": "image"}) == [("view",)]
