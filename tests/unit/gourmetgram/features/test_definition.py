"""The 29 features: names, order, formulas, and that single images and columns give the same numbers."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gourmetgram.features.definition import (
    CATEGORIES,
    CATEGORY_FEATURES,
    FEATURE_NAMES,
    NUMERIC_FEATURES,
    UNKNOWN_CATEGORY,
    FeatureInputs,
    category_name,
    feature_dict,
    feature_vector,
)
from gourmetgram.features.matrix import matrix_of_columns, matrix_of_vectors

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


SATURDAY_NIGHT = datetime(2026, 1, 3, 23, 59, 59, 999_999, tzinfo=UTC)


def inputs(**changes: object) -> FeatureInputs:
    upload_us = microseconds(SATURDAY_NIGHT)
    known = FeatureInputs(
        upload_us=upload_us,
        time_us=upload_us,
        views_5min=0,
        views_1hr=0,
        comments_5min=0,
        comments_1hr=0,
        flags_5min=0,
        flags_1hr=0,
        total_flags=0,
        caption_length=0,
        user_image_count=1,
        user_created_us=upload_us,
        category=UNKNOWN_CATEGORY,
    )
    return known._replace(**changes)


def features(**changes: object) -> dict[str, float]:
    return feature_dict(feature_vector(inputs(**changes)))


def test_there_are_29_features_in_the_contracts_order() -> None:
    names = tuple(FEATURE_NAMES)
    assert names == (
        *("time_since_upload_seconds", "hour_of_day", "day_of_week", "is_weekend", "views_5min", "views_1hr"),
        *("comments_5min", "comments_1hr", "flags_5min", "flags_1hr", "total_flags", "view_velocity_per_min"),
        *("comment_to_view_ratio", "recent_engagement_score", "caption_length", "has_caption"),
        *("user_image_count", "user_age_days", "category_Bread", "category_Dairy", "category_Dessert"),
        *("category_Egg", "category_Fried", "category_Meat", "category_Noodles", "category_Rice"),
        *("category_Seafood", "category_Soup", "category_Veggie"),
    )
    assert (len(NUMERIC_FEATURES), len(CATEGORY_FEATURES), len(CATEGORIES)) == (18, 11, 11)


def test_times_of_the_upload_are_in_utc() -> None:
    saturday = features()
    assert (saturday["hour_of_day"], saturday["day_of_week"], saturday["is_weekend"]) == (23, 5, 1)
    monday = features(upload_us=microseconds(datetime(2026, 1, 5, tzinfo=UTC)))
    assert (monday["hour_of_day"], monday["day_of_week"], monday["is_weekend"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("elapsed_us", "seconds"), [(-5_000_001, 0), (0, 0), (999_999, 0), (1_000_000, 1), (59_999_999, 59)]
)
def test_time_since_upload_is_whole_seconds_and_never_negative(elapsed_us: int, seconds: int) -> None:
    assert features(time_us=microseconds(SATURDAY_NIGHT) + elapsed_us)["time_since_upload_seconds"] == seconds


@pytest.mark.parametrize(("age_us", "days"), [(-1, 0), (86_399_999_999, 0), (86_400_000_000, 1), (864_000_000_001, 10)])
def test_user_age_is_whole_days_and_never_negative(age_us: int, days: int) -> None:
    assert features(user_created_us=microseconds(SATURDAY_NIGHT) - age_us)["user_age_days"] == days


def test_the_derived_counts_follow_their_formulas() -> None:
    derived = features(views_5min=7, views_1hr=20, comments_5min=3, comments_1hr=9, caption_length=12)
    assert derived["view_velocity_per_min"] == 7 / 5
    assert derived["comment_to_view_ratio"] == 9 / 20
    assert derived["recent_engagement_score"] == 22
    assert (derived["caption_length"], derived["has_caption"]) == (12, 1)
    assert features(comments_1hr=4)["comment_to_view_ratio"] == 4
    assert features()["has_caption"] == 0


@pytest.mark.parametrize("category", CATEGORIES)
def test_each_category_sets_its_own_feature_only(category: str) -> None:
    vector = feature_vector(inputs(category=category))
    assert vector[18:] == tuple(int(name == category) for name in CATEGORIES)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Soup", "Soup"),
        ("  Noodles/Pasta\n", "Noodles/Pasta"),
        ("soup", "Unknown"),
        ("Dairy", "Unknown"),
        ("", "Unknown"),
        (None, "Unknown"),
        ("Unknown", "Unknown"),
    ],
)
def test_a_category_counts_only_under_its_exact_name(text: str | None, name: str) -> None:
    assert category_name(text) == name


count = st.integers(min_value=0, max_value=10**6)
moment = st.integers(min_value=-(10**15), max_value=4 * 10**15)
any_inputs = st.builds(
    FeatureInputs,
    upload_us=moment,
    time_us=moment,
    views_5min=count,
    views_1hr=count,
    comments_5min=count,
    comments_1hr=count,
    flags_5min=count,
    flags_1hr=count,
    total_flags=count,
    caption_length=count,
    user_image_count=count,
    user_created_us=moment,
    category=st.sampled_from([*CATEGORIES, UNKNOWN_CATEGORY]),
)


@given(rows=st.lists(any_inputs, min_size=1, max_size=20))
def test_columns_give_the_same_float32_numbers_as_single_images(rows: list[FeatureInputs]) -> None:
    columns = [np.array(column, dtype=np.int64) for column in list(zip(*rows, strict=True))[:-1]]
    categories = np.array([row.category for row in rows], dtype=object)
    by_column = matrix_of_columns(feature_vector(FeatureInputs._make([*columns, categories])))
    by_image = matrix_of_vectors([feature_vector(row) for row in rows])
    assert by_column.shape == (len(rows), 29)
    assert by_column.dtype == np.float32
    np.testing.assert_array_equal(by_column, by_image)


@given(row=any_inputs)
def test_the_upload_time_agrees_with_the_calendar(row: FeatureInputs) -> None:
    uploaded = EPOCH + timedelta(microseconds=row.upload_us)
    named = feature_dict(feature_vector(row))
    assert (named["hour_of_day"], named["day_of_week"]) == (uploaded.hour, uploaded.weekday())


def test_a_vector_of_another_length_or_with_a_value_that_is_not_finite_is_refused() -> None:
    vector = feature_vector(inputs())
    with pytest.raises(ValueError, match="29 values, not 28"):
        matrix_of_vectors([vector[:-1]])
    with pytest.raises(ValueError, match="zip"):
        feature_dict(vector[:-1])
    with pytest.raises(ValueError, match="not finite"):
        matrix_of_vectors([(math.inf, *vector[1:])])


def test_no_vectors_make_an_empty_matrix() -> None:
    assert matrix_of_vectors([]).shape == (0, 29)
