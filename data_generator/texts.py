"""Texts of the traffic: names, captions, comments and reasons of flags."""

import random
from typing import Final

from faker import Faker

CAPTION_OPENERS: Final = (
    "Just made this",
    "Look at my",
    "Dinner tonight:",
    "Can't stop eating this",
    "First try at a",
    "Weekend treat:",
    "Grandma's recipe for",
    "So proud of this",
)
ADJECTIVES: Final = ("fresh", "crispy", "spicy", "sweet", "savory", "creamy")
COMMENT_PREFIXES: Final = (
    "Looks delicious!",
    "Yum!",
    "I want the recipe!",
    "Amazing,",
    "Not sure about this,",
    "Tried this once,",
    "My favourite!",
    "Wow,",
)
FLAG_REASONS: Final = (
    "harassment in caption",
    "spam in comment",
    "offensive language",
    "violent content",
    "hate speech",
    "misleading content",
    "graphic description",
    "personal attack",
)
COUNTRIES: Final = ("US", "IN", "BR", "DE", "GB", "CA", "MX", "FR", "JP", "KR", "NG", "ZA")


class Texts:
    """Random texts.

    Args:
        rng: makes every choice, Faker's included, so the same seed gives the same texts.
        faker: existing instance, since a new one takes a while; it is seeded anew.
    """

    def __init__(self, rng: random.Random, faker: Faker | None = None) -> None:
        self._rng = rng
        self._faker = faker or Faker()
        self._faker.seed_instance(rng.getrandbits(64))

    def username(self) -> str:
        """A name with a number, such as `brandon72_4711`."""
        return f"{self.name()}_{self._rng.randint(10, 9999)}"

    def name(self) -> str:
        """A name without an added number, which several users may share."""
        return str(self._faker.user_name())

    def country(self) -> str:
        """Two capital letters."""
        return self._rng.choice(COUNTRIES)

    def caption(self, category: str) -> str:
        """Opener, adjective, category and a few words: `Look at my crispy bread - road table far`."""
        opener, adjective = self._rng.choice(CAPTION_OPENERS), self._rng.choice(ADJECTIVES)
        return f"{opener} {adjective} {category.lower()} - {self.words(self._rng.randint(3, 7))}"

    def comment(self) -> str:
        """Prefix and a few words: `Yum! road table far off`."""
        return f"{self._rng.choice(COMMENT_PREFIXES)} {self.words(self._rng.randint(4, 9))}"

    def flag_reason(self) -> str:
        """One of eight reasons."""
        return self._rng.choice(FLAG_REASONS)

    def words(self, number: int) -> str:
        """Draw a number of words."""
        return " ".join(self._faker.words(number))
