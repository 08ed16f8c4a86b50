"""Behaviour of users in the backfill. All numbers of the model are in this file.

**People.** Most joined during the year before, some during the history itself. Each has a *trouble*, a number from 0 to
1 (Beta): on average 0.17 for old accounts, 0.33 for the new ones.

**Images.** Whether an image is *harmful* is drawn with the probability

    sigmoid(-3.2 + 8 trouble + 2 exp(-account age / 7 days) + 0.5 [uploaded between 0 and 5 UTC] + N(0, 0.5))

which makes about one in four harmful. Users notice only its *severity*, 0 to 1: Beta(4, 2) when harmful (mean
0.67), Beta(1.5, 6) when not (mean 0.2). The two overlap, so no behaviour proves harm: images differ gradually.
*Popularity* is log-normal and independent of harm; 4 % of the images also go viral (8 times the views, half of them
within
some minutes). So the most viewed images are mostly harmless, and a few are not.

**Effects of severity**, each a small one:

- captions: missing with a probability of 0.02 + 0.6 severity, and otherwise shorter;
- categories: meat, fried food and seafood are up to twice as likely;
- comments: 0.05 (1 + 4 severity) for each view;
- flags: 0.0008 exp(5 severity) for each view, sooner after the upload. A harmless image with ten thousand views gets
  some flags, too: popularity misleads rules that count flags.

**Times.** Interest fades: 70 % of the reactions come with a mean delay of 1.5 hours, 30 % with one of 10 hours. Uploads
follow the hours of the day. No event is later than the history's end: delays are drawn within it, and younger images
get fewer events.
"""

import math
import random
from dataclasses import dataclass
from typing import Final, NamedTuple

HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S

SHARE_OF_NEW_ACCOUNTS: Final = 0.3
DAYS_BEFORE: Final = 365.0
"""Old accounts joined within this number of days before the history begins."""

NIGHT_HOURS: Final = range(5)
SHARE_VIRAL: Final = 0.04
VIRAL_FACTOR: Final = 8.0
VIRAL_SHARE_IN_BURST: Final = 0.5
VIRAL_BURST_DELAY_S: Final = 3 * HOUR_S
VIRAL_BURST_SPREAD_S: Final = 600.0
FLAG_LAG_S: Final = HOUR_S
COMMENT_FLAG_SHARE: Final = 0.3
"""Share of the flags after an image's first comment that flag a comment."""

# Share and mean delay (s) of the two parts of fading interest.
FADING: Final = ((0.7, 1.5 * HOUR_S), (0.3, 10 * HOUR_S))

# Likelihood of an upload in each hour of the day (UTC), relative to the busiest hour.
UPLOADS_BY_HOUR: Final = (
    *(0.35, 0.25, 0.2, 0.15, 0.15, 0.2, 0.3, 0.45, 0.55, 0.6, 0.65, 0.8),
    *(1.0, 0.9, 0.65, 0.55, 0.6, 0.75, 0.95, 1.0, 0.9, 0.75, 0.6, 0.45),
)

# Frequency of each category, and the factor by which full severity multiplies it.
CATEGORIES: Final = (
    ("Bread", 1.0, 1.0),
    ("Dairy product", 0.5, 1.0),
    ("Dessert", 1.6, 1.0),
    ("Egg", 0.8, 1.0),
    ("Fried food", 1.0, 2.0),
    ("Meat", 1.3, 2.0),
    ("Noodles/Pasta", 0.9, 1.0),
    ("Rice", 0.6, 1.0),
    ("Seafood", 0.9, 2.0),
    ("Soup", 1.0, 1.0),
    ("Vegetable/Fruit", 0.8, 1.0),
)


@dataclass(frozen=True)
class Traits:
    """Hidden properties of an image. Never written to the platform.

    Attributes:
        harm_probability: 0 to 1, from its uploader and time.
        harmful: the ground truth, drawn with that probability.
        severity: 0 to 1, how strongly users notice the harm.
        popularity: views relative to those of a median image.
        viral: whether it goes viral.
    """

    harm_probability: float
    harmful: bool
    severity: float
    popularity: float
    viral: bool


class Interest(NamedTuple):
    """Reactions of an image relative to other images: the weights of a draw."""

    views: float
    comments: float
    flags: float


def draw_trouble(rng: random.Random, *, new_account: bool) -> float:
    """Trouble of an account, 0 to 1."""
    return rng.betavariate(2.0, 3.0) if new_account else rng.betavariate(0.6, 5.0)


def draw_traits(rng: random.Random, *, trouble: float, account_age_s: float, hour: int) -> Traits:
    """Draw the hidden properties of an image, given its uploader and the hour (UTC) of its upload."""
    logit = -3.2 + 8.0 * trouble + 2.0 * math.exp(-account_age_s / (7 * DAY_S)) + rng.gauss(0.0, 0.5)
    if hour in NIGHT_HOURS:
        logit += 0.5
    probability = 1 / (1 + math.exp(-logit))
    harmful = rng.random() < probability
    severity = rng.betavariate(4.0, 2.0) if harmful else rng.betavariate(1.5, 6.0)
    return Traits(probability, harmful, severity, rng.lognormvariate(0.0, 1.0), rng.random() < SHARE_VIRAL)


def draw_category(rng: random.Random, severity: float) -> str:
    """The name of one of the eleven categories."""
    weights = [common * (1 + (factor - 1) * severity) for _name, common, factor in CATEGORIES]
    return rng.choices(CATEGORIES, weights)[0][0]


def has_caption(rng: random.Random, severity: float) -> bool:
    """Draw whether the uploader wrote a caption."""
    return rng.random() >= 0.02 + 0.6 * severity


def extra_caption_words(rng: random.Random, severity: float) -> int:
    """Draw the number of words of a caption beyond the usual few."""
    return int(12 * (1 - severity) * rng.random())


def interest(rng: random.Random, traits: Traits, lifetime_s: float) -> Interest:
    """Draw the number of reactions to an image until the history's end, `lifetime_s` after its upload."""
    views = traits.popularity * _faded(lifetime_s) * (VIRAL_FACTOR if traits.viral else 1.0)
    comments = 0.05 * (1 + 4 * traits.severity) * rng.lognormvariate(0.0, 0.4)
    flags = 0.0008 * math.exp(5 * traits.severity) * rng.lognormvariate(0.0, 0.3)
    return Interest(views, views * comments, views * flags)


def draw_delay(rng: random.Random, lifetime_s: float) -> float:
    """Seconds from upload to a reaction, within the lifetime."""
    weights = [share * _exponential_cdf(lifetime_s, mean) for share, mean in FADING]
    mean = FADING[0][1] if rng.random() * sum(weights) < weights[0] else FADING[1][1]
    return _truncated_exponential(rng, mean, lifetime_s)


def draw_burst(rng: random.Random, lifetime_s: float) -> float:
    """Seconds from upload to the middle of a viral image's burst, within the lifetime."""
    return _truncated_exponential(rng, VIRAL_BURST_DELAY_S, lifetime_s)


def draw_delay_in_burst(rng: random.Random, burst_s: float, lifetime_s: float) -> float:
    """Seconds from upload to a view of a viral image."""
    if rng.random() < VIRAL_SHARE_IN_BURST:
        delay = rng.gauss(burst_s, VIRAL_BURST_SPREAD_S)
        if 0 < delay < lifetime_s:
            return delay
    return draw_delay(rng, lifetime_s)


def draw_flag_delay(rng: random.Random, severity: float, lifetime_s: float) -> float:
    """Seconds from upload to a flag: a user sees the image, hesitates, and reports it."""
    seen = draw_delay(rng, lifetime_s)
    return seen + _truncated_exponential(rng, FLAG_LAG_S * (1.5 - severity), lifetime_s - seen)


def _faded(lifetime_s: float) -> float:
    """Share of all reactions that come within the lifetime."""
    return sum(share * _exponential_cdf(lifetime_s, mean) for share, mean in FADING)


def _exponential_cdf(value: float, mean: float) -> float:
    return -math.expm1(-value / mean)


def _truncated_exponential(rng: random.Random, mean: float, limit: float) -> float:
    """An exponential delay, given that it is below `limit`."""
    return min(limit, -mean * math.log1p(-rng.random() * _exponential_cdf(limit, mean)))
