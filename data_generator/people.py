"""Registration of new users."""

import random
from typing import Final

from data_generator.client import ApiClient, NewUser, User
from data_generator.settings import GeneratorSettings
from data_generator.texts import Texts
from gourmetgram.policy.eligibility import ADULT_AGE_YEARS, actor_eligible

OLDEST_BIRTH_YEAR: Final = 1960
YOUNGEST_AGE_YEARS: Final = 13


class People:
    """Draws users and registers them.

    Args:
        api: client of the API.
        settings: give the version of the terms of service and the share of test accounts.
        texts: gives names and countries.
        rng: random numbers for all other fields.
    """

    def __init__(self, api: ApiClient, settings: GeneratorSettings, texts: Texts, rng: random.Random) -> None:
        self._api = api
        self._settings = settings
        self._texts = texts
        self._rng = rng

    async def register(self) -> User:
        """Register a user at random: some are minors, a few are test accounts."""
        is_test_account = self._rng.random() < self._settings.generator_test_account_rate
        return await self._register(YOUNGEST_AGE_YEARS, is_test_account)

    async def register_eligible(self) -> User:
        """Register an adult with a real account, whose actions count.

        Raises:
            ApiCallError: the call failed.
        """
        while True:
            user = await self._register(ADULT_AGE_YEARS + 1, is_test_account=False)
            # For a taken name, the API returns another user's account.
            if actor_eligible(
                is_test_account=user.is_test_account,
                year_of_birth=user.year_of_birth,
                event_year=self._api.server_now().year,
            ):
                return user

    async def _register(self, youngest_age: int, is_test_account: bool) -> User:
        now = self._api.server_now()
        return await self._api.create_user(
            NewUser(
                username=self._texts.username(),
                tos_version_accepted=self._settings.generator_tos_version,
                tos_accepted_at=now,
                country_of_residence=self._texts.country(),
                year_of_birth=self._rng.randint(OLDEST_BIRTH_YEAR, now.year - youngest_age),
                is_test_account=is_test_account,
            )
        )
