"""Audit, trace, skew, adoption and erasure on a REST catalog: tests of the catalog in PostgreSQL, run a second time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gourmetgram.errors import PermanentError
from gourmetgram_tools.backup.making import make_backup
from gourmetgram_tools.backup.restoring import restore_backup
from gourmetgram_tools.local.progress import LogProgress
from gourmetgram_tools.local.stack import Stack
from tests.conftest import UniqueName
from tests.integration.gourmetgram_tools.erasure import test_erasing as erasing
from tests.integration.gourmetgram_tools.erasure.test_erasing import (
    person_fixture,  # noqa: F401
    raw_redis_fixture,  # noqa: F401
    search_fixture,  # noqa: F401
)
from tests.integration.gourmetgram_tools.inspection import test_lakehouse as lakehouse_checks
from tests.integration.gourmetgram_tools.inspection import test_owners as owners
from tests.integration.gourmetgram_tools.inspection import test_skew as skew
from tests.integration.gourmetgram_tools.inspection.test_skew import consumer, serving  # noqa: F401
from tests.support.iceberg_rest.fixtures import running_rest_catalog
from tests.support.inspection_fixtures import (
    Scene,
    aggregate_scene,
    new_small_platform,
    scene_fixture,  # noqa: F401
    train_scene,
)
from tests.support.secured.certificates import Certificates
from tests.support.small_platform import SmallPlatform

pytestmark = pytest.mark.servers

test_an_erased_person = erasing.test_no_store_file_or_snapshot_holds_anything_of_an_erased_person
test_the_audit_after_an_erasure = (
    erasing.test_the_audit_is_exact_for_what_comes_after_an_erasure_and_tolerant_of_what_went_with_it
)
test_a_clean_history = lakehouse_checks.test_a_clean_history_with_copies_and_poison_has_no_difference_after_aggregation
test_lost_records = lakehouse_checks.test_lost_records_are_found_with_their_place_and_change_the_sums
test_a_trace = lakehouse_checks.test_a_trace_shows_what_iceberg_holds_of_an_image_and_of_one_event
test_an_adoption = owners.test_places_of_another_owner_are_noted_until_they_are_adopted
test_skew = pytest.mark.usefixtures("rest_catalog")(
    skew.test_every_vector_that_was_served_is_computed_again_without_a_difference
)


@pytest.fixture(name="small_platform")
def small_platform_fixture(
    stack: Stack, unique_name: UniqueName, certificates: Certificates, tmp_path: Path
) -> Iterator[SmallPlatform]:
    """A small platform whose lakehouse has a REST catalog."""
    with new_small_platform(stack, unique_name) as small:
        platform = small.platform
        database = platform.postgres.database_url
        with running_rest_catalog(stack, platform.iceberg, database, certificates, tmp_path) as place:
            small.platform = platform._replace(iceberg=place.iceberg)
            yield small


@pytest.fixture(name="clean")
def clean_fixture(scene: Scene) -> Scene:
    """A platform after both DAGs."""
    aggregate_scene(scene)
    train_scene(scene)
    return scene


def test_a_backup_and_a_restore_are_refused_before_anything_is_written(
    small_platform: SmallPlatform, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    words = r"The Iceberg catalog is the REST catalog at https://localhost:\d+\. A backup holds the catalog's database"
    with pytest.raises(PermanentError, match=words):
        make_backup(small_platform.platform, folder, LogProgress())
    assert not folder.exists()
    with pytest.raises(PermanentError, match=words):
        restore_backup(small_platform.platform, folder, LogProgress())
