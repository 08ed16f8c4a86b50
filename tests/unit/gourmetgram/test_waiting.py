from itertools import count

import pytest

from gourmetgram.errors import TransientError
from gourmetgram.waiting import wait_for


def late(answer: object) -> Exception:
    return TransientError(f"last answer: {answer}")


def test_the_first_answer_that_is_true_ends_the_wait() -> None:
    answers = iter(["", "", "there", "never asked for"])
    assert wait_for(lambda: next(answers), deadline_s=5, every_s=0.001, late=late) == "there"
    assert next(answers) == "never asked for"


def test_a_condition_of_its_own_decides() -> None:
    numbers = count()
    assert wait_for(lambda: next(numbers), deadline_s=5, every_s=0.001, late=late, done=lambda n: n == 3) == 3


def test_the_error_is_made_from_the_last_answer() -> None:
    with pytest.raises(TransientError, match=r"^last answer: 0$"):
        wait_for(lambda: 0, deadline_s=0.01, every_s=0.005, late=late)


def test_a_deadline_of_nothing_still_probes_once() -> None:
    numbers = count(1)
    assert wait_for(lambda: next(numbers), deadline_s=0, every_s=1, late=late) == 1


def test_an_error_of_the_probe_ends_the_wait() -> None:
    def broken() -> bool:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        wait_for(broken, deadline_s=5, every_s=0.001, late=late)
