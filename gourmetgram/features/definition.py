"""The 29 features: their names, their order, and the only copy of their formulas.

The formulas use only arithmetic and comparisons. So the same lines compute one image (integers and a text), arrays
(numpy int64, and an object array of texts), and columns of a query (Ibis). Online and offline features differ only in
the source of their inputs, never in a formula.
"""

from typing import Any, Final, NamedTuple, TypeAlias

from gourmetgram.moments import DAY_US, HOUR_US, SECOND_US

CATEGORIES: Final = (
    "Bread",
    "Dairy product",
    "Dessert",
    "Egg",
    "Fried food",
    "Meat",
    "Noodles/Pasta",
    "Rice",
    "Seafood",
    "Soup",
    "Vegetable/Fruit",
)
"""The eleven categories of Food-11, in the order of the data set's classes and of the features."""

UNKNOWN_CATEGORY: Final = "Unknown"
"""Category that stands for a missing or any other one."""

NUMERIC_FEATURES: Final = (
    "time_since_upload_seconds",
    "hour_of_day",
    "day_of_week",
    "is_weekend",
    "views_5min",
    "views_1hr",
    "comments_5min",
    "comments_1hr",
    "flags_5min",
    "flags_1hr",
    "total_flags",
    "view_velocity_per_min",
    "comment_to_view_ratio",
    "recent_engagement_score",
    "caption_length",
    "has_caption",
    "user_image_count",
    "user_age_days",
)
"""Features 1 to 18, which a model's scaler transforms."""

CATEGORY_FEATURES: Final = (
    "category_Bread",
    "category_Dairy",
    "category_Dessert",
    "category_Egg",
    "category_Fried",
    "category_Meat",
    "category_Noodles",
    "category_Rice",
    "category_Seafood",
    "category_Soup",
    "category_Veggie",
)
"""Features 19 to 29: one per category, in the order of `CATEGORIES`."""

FEATURE_NAMES: Final = NUMERIC_FEATURES + CATEGORY_FEATURES
"""All 29 names, in the order of every vector."""

Values: TypeAlias = Any
"""One number (int, float), a numpy array with one number per row, or a column of a query."""

FeatureVector: TypeAlias = tuple[Values, ...]
"""29 `Values` in the order of `FEATURE_NAMES`."""


class FeatureInputs(NamedTuple):
    """Inputs of the features of an image as of a moment t; all counts and rows are as of t.

    Attributes:
        upload_us: upload time, microseconds since the epoch.
        time_us: t, microseconds since the epoch.
        views_5min: views by eligible actors in (t - 300 s, t]; the other windows likewise.
        total_flags: flags by eligible actors up to t, on the image and on its comments.
        caption_length: characters; 0 for none.
        user_image_count: images of the uploader that were uploaded at or before t and not deleted at t.
        user_created_us: registration time of the uploader, microseconds since the epoch.
        category: one of `CATEGORIES`; any other text counts as none of them (see `category_name`).
    """

    upload_us: Values
    time_us: Values
    views_5min: Values
    views_1hr: Values
    comments_5min: Values
    comments_1hr: Values
    flags_5min: Values
    flags_1hr: Values
    total_flags: Values
    caption_length: Values
    user_image_count: Values
    user_created_us: Values
    category: Values


def category_name(text: str | None) -> str:
    """Category of a stored text: one of `CATEGORIES` after trimming, else `UNKNOWN_CATEGORY`."""
    name = text.strip() if text else UNKNOWN_CATEGORY
    return name if name in CATEGORIES else UNKNOWN_CATEGORY


def feature_vector(inputs: FeatureInputs) -> FeatureVector:
    """The 29 features (rule 25 of docs/rules.md).

    Args:
        inputs: integers and a text for one image, arrays of equal length for many, or columns of one query.

    Returns:
        29 numbers (integers, except `view_velocity_per_min` and `comment_to_view_ratio`), arrays or columns.
    """
    # 1 January 1970 was a Thursday, day 3 of a week that starts with Monday.
    day_of_week = _remainder(inputs.upload_us // DAY_US + 3, 7)
    return (
        _not_negative((inputs.time_us - inputs.upload_us) // SECOND_US),
        _remainder(inputs.upload_us // HOUR_US, 24),
        day_of_week,
        _as_number(day_of_week >= 5),
        inputs.views_5min,
        inputs.views_1hr,
        inputs.comments_5min,
        inputs.comments_1hr,
        inputs.flags_5min,
        inputs.flags_1hr,
        inputs.total_flags,
        inputs.views_5min / 5,
        # Equals max(count, 1), because a count is never negative: 1 is added where the count is 0.
        inputs.comments_1hr / (inputs.views_1hr + _as_number(inputs.views_1hr == 0)),
        inputs.views_5min + 5 * inputs.comments_5min,
        inputs.caption_length,
        _as_number(inputs.caption_length > 0),
        inputs.user_image_count,
        _not_negative((inputs.time_us - inputs.user_created_us) // DAY_US),
        *(_as_number(inputs.category == name) for name in CATEGORIES),
    )


def feature_dict(vector: FeatureVector) -> dict[str, Values]:
    """The features by name, in order.

    Raises:
        ValueError: the vector has not exactly 29 values.
    """
    return dict(zip(FEATURE_NAMES, vector, strict=True))


def _as_number(condition: Values) -> Values:
    """1 where the condition holds, else 0."""
    # SQL has no arithmetic on booleans; Python and numpy have it.
    return condition.cast("int64") if hasattr(condition, "cast") else condition * 1


def _not_negative(values: Values) -> Values:
    """The values, with 0 for negative ones."""
    return values * _as_number(values > 0)


def _remainder(values: Values, divisor: int) -> Values:
    """Remainder from 0 to divisor - 1, also of negative values, for which SQL returns a negative one."""
    return values - values // divisor * divisor
