"""The words of the traffic, as the contract describes them."""

import random
import re

from data_generator import texts as words
from data_generator.food11 import CLASSES
from data_generator.texts import Texts

ROUNDS = 300


def test_captions_have_an_opener_an_adjective_the_category_and_three_to_seven_words() -> None:
    texts = Texts(random.Random(1))
    assert len(set(words.CAPTION_OPENERS)) == 8
    for _ in range(ROUNDS):
        for category in CLASSES:
            head, _dash, tail = texts.caption(category).partition(" - ")
            opener = next(opener for opener in words.CAPTION_OPENERS if head.startswith(opener))
            adjective, _space, named = head.removeprefix(opener).strip().partition(" ")
            assert adjective in words.ADJECTIVES
            assert named == category.lower()
            assert 3 <= len(tail.split()) <= 7


def test_comments_have_a_prefix_and_four_to_nine_words() -> None:
    texts = Texts(random.Random(1))
    assert len(set(words.COMMENT_PREFIXES)) == 8
    for _ in range(ROUNDS):
        text = texts.comment()
        prefix = next(prefix for prefix in words.COMMENT_PREFIXES if text.startswith(prefix))
        assert 4 <= len(text.removeprefix(prefix).split()) <= 9


def test_flags_have_one_of_eight_reasons() -> None:
    texts = Texts(random.Random(1))
    assert {texts.flag_reason() for _ in range(ROUNDS)} == set(words.FLAG_REASONS)
    assert len(words.FLAG_REASONS) == 8


def test_names_end_with_a_number_from_10_to_9999_and_fit_the_api() -> None:
    texts = Texts(random.Random(1))
    for _ in range(ROUNDS):
        match = re.fullmatch(r"(\S+)_(\d+)", texts.username())
        assert match
        assert 10 <= int(match.group(2)) <= 9999
        assert len(match.group(0)) <= 100


def test_the_same_seed_says_the_same() -> None:
    assert Texts(random.Random(7)).caption("Soup") == Texts(random.Random(7)).caption("Soup")
