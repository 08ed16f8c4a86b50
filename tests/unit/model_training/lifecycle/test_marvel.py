"""The made-up rows of the example project."""

from collections import Counter

import pyarrow as pa

from model_training.lifecycle.config import CONFIG_FILES, ProjectConfig
from model_training.lifecycle.marvel import content_digest, marvel_rows


def test_rows_have_the_columns_of_the_configuration() -> None:
    config = ProjectConfig.from_yaml(CONFIG_FILES["marvel"], "dev")
    train, test = marvel_rows(50)
    assert train.column_names == test.column_names == [*config.num_features, *config.cat_features, config.target]
    assert (train.num_rows, test.num_rows) == (40, 10)


def test_the_same_seed_gives_the_same_rows() -> None:
    first, second, other = marvel_rows(100), marvel_rows(100), marvel_rows(100, seed=1)
    assert [content_digest(each) for each in first] == [content_digest(each) for each in second]
    assert content_digest(first[0]) != content_digest(other[0])


def test_rows_are_possible_characters_of_both_classes() -> None:
    rows = pa.concat_tables(marvel_rows(2_000)).to_pylist()
    assert all(1.2 < row["Height"] < 2.5 and row["Weight"] >= 35 for row in rows)
    assert all((row["Mutant"] == "yes") == (row["Origin"] == "Mutation") for row in rows)
    alive = Counter(row["Alive"] for row in rows)
    assert set(alive) == {0, 1}
    assert min(alive.values()) > 600


def test_being_alive_can_be_learnt() -> None:
    rows = pa.concat_tables(marvel_rows(2_000)).to_pylist()

    def share(universe: str) -> float:
        alive = [int(row["Alive"]) for row in rows if row["Universe"] == universe]
        return sum(alive) / len(alive)

    assert share("Earth-1") > share("Earth-19") + 0.3
