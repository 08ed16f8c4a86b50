"""The lakehouse on Iceberg's own REST server, behind a gateway with TLS and a login.

Tests of the catalog in PostgreSQL run here a second time; the others are about the connection.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog

from gourmetgram.errors import PermanentError, TransientError
from gourmetgram.lakehouse.catalog import open_catalog, table_versions
from gourmetgram.lakehouse.erasure import ErasedIds, erase_rows, remaining_files
from gourmetgram.lakehouse.maintenance import MaintenancePolicy, maintain
from gourmetgram.lakehouse.outages import CatalogLoginError, ChangedMeanwhileError
from gourmetgram.lakehouse.schemas import ALL_TABLES, EVENTS, EVENTS_DEFINITION, NAMESPACE, RETRY_PROPERTY, open_table
from gourmetgram.lakehouse.windows import write_windows
from gourmetgram.settings import IcebergSettings
from gourmetgram_tools.local.stack import Stack
from tests.integration.gourmetgram.lakehouse import test_exactly_once as exactly_once
from tests.integration.gourmetgram.lakehouse import test_maintenance as maintenance
from tests.integration.gourmetgram.training import test_large_table as large_table
from tests.integration.gourmetgram.training import test_run as training
from tests.integration.gourmetgram.training_data import test_load as training_data
from tests.support.iceberg_rest.fixtures import PREFIX, RestCatalogPlace, running_rest_catalog
from tests.support.iceberg_rest.gateway import TOKEN, lose_answer
from tests.support.lakehouse_platform import LakehousePlatform
from tests.support.secured.certificates import Certificates

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("rest_catalog")]

COMMIT_OF_EVENTS = "POST .*/tables/events$"
COMMIT_OF_VIEWS = "POST .*/tables/view_windows_5min$"
CREDENTIAL = f"{PREFIX}CREDENTIAL".lower()

test_events_of_all_kinds = exactly_once.test_events_of_all_kinds_end_in_their_windows
test_tasks_are_run_again = exactly_once.test_nothing_changes_when_tasks_are_run_again
test_a_killed_run = exactly_once.test_a_run_killed_after_any_statement_changes_no_count
test_killed_windows = exactly_once.test_windows_killed_after_any_statement_are_completed_by_the_next_run
test_two_runs_at_once = exactly_once.test_of_two_runs_at_once_one_commits_and_the_other_is_told_to_start_over
test_two_first_runs_at_once = exactly_once.test_two_first_runs_at_once_create_the_tables_once
test_two_window_runs_at_once = exactly_once.test_two_window_runs_at_once_count_nothing_twice
test_a_merge_in_between = exactly_once.test_a_run_goes_on_top_of_a_merge_that_came_between
test_compaction = maintenance.test_merging_keeps_every_row_and_the_progress
test_expiry = maintenance.test_removed_files_are_gone_from_the_bucket_and_needed_ones_are_not
test_grace = maintenance.test_files_stay_for_the_time_of_grace
test_training_data = training_data.test_the_columns_and_the_snapshot_are_those_of_the_contract
test_training_data_again = training_data.test_repeating_tasks_changes_nothing
test_training_data_changes = training_data.test_a_label_that_becomes_known_replaces_its_row_in_a_new_snapshot
test_training_from_a_snapshot = training.test_the_same_snapshot_gives_the_same_model
test_the_large_table = large_table.test_a_new_table_takes_the_place_of_the_old_one_and_leaves_nothing_of_it


@pytest.fixture(name="catalog")
def catalog_fixture(rest_catalog: RestCatalogPlace) -> Iterator[Catalog]:
    """The test's catalog, for tests that ask for one."""
    with open_catalog(rest_catalog.iceberg) as opened:
        yield opened


def unavailable() -> None:
    """Fault: the answer has the status 503."""
    raise ConnectionResetError


@pytest.mark.parametrize("fault", [lose_answer, unavailable])
def test_commits_whose_answers_are_lost_count_once(
    lakehouse: LakehousePlatform, rest_catalog: RestCatalogPlace, fault: Callable[[], None]
) -> None:
    lakehouse.publish_many(20)
    lakehouse.run()
    lakehouse.publish_many(30)
    rest_catalog.gateway.once(COMMIT_OF_EVENTS, fault)
    with pytest.raises(TransientError, match="new files could not be committed: the Iceberg catalog is away"):
        lakehouse.aggregate()
    assert lakehouse.aggregate().records == 0
    rest_catalog.gateway.once(COMMIT_OF_VIEWS, fault)
    with pytest.raises(TransientError, match="the Iceberg catalog is away"):
        lakehouse.write_windows()
    assert write_windows(lakehouse.sources.iceberg, "view").snapshot_id is None
    lakehouse.write_windows()
    lakehouse.assert_exact()


def test_a_commit_that_never_arrives_is_made_by_the_next_run(
    lakehouse: LakehousePlatform, rest_catalog: RestCatalogPlace
) -> None:
    lakehouse.publish_many(20)
    rest_catalog.gateway.once(COMMIT_OF_EVENTS, lose_answer, after=False)
    with pytest.raises(TransientError, match="the Iceberg catalog is away"):
        lakehouse.aggregate()
    assert lakehouse.run().records == 20
    lakehouse.assert_exact()


def test_a_commit_on_top_of_another_run_is_refused(
    lakehouse: LakehousePlatform, rest_catalog: RestCatalogPlace
) -> None:
    lakehouse.publish_many(20)
    lakehouse.run()
    lakehouse.publish_many(30)
    # The other run commits after this one has prepared everything.
    rest_catalog.gateway.once(COMMIT_OF_EVENTS, lambda: assert_records(lakehouse, 30), after=False)
    with pytest.raises(ChangedMeanwhileError, match="another writer changed the table"):
        lakehouse.aggregate()
    assert rest_catalog.gateway.faults_left == 0
    assert lakehouse.run().records == 0
    lakehouse.assert_exact()
    with lakehouse.catalog() as catalog:
        table = catalog.load_table(EVENTS)
        files = {task.file.file_path for task in table.scan().plan_files()}
        assert {path for path in maintenance.files_in_bucket(table) if path.endswith(".parquet")} == files


def assert_records(lakehouse: LakehousePlatform, records: int) -> None:
    assert lakehouse.aggregate().records == records


def test_an_erasure_whose_answer_is_lost_loses_no_row(
    lakehouse: LakehousePlatform, rest_catalog: RestCatalogPlace
) -> None:
    erased, kept = lakehouse.make("view"), lakehouse.make("view")
    lakehouse.publish(erased, kept)
    lakehouse.run()
    ids = ErasedIds(frozenset(), frozenset({erased["image_id"]}), frozenset())
    with lakehouse.catalog() as catalog:
        rest_catalog.gateway.once(COMMIT_OF_EVENTS, lose_answer)
        with pytest.raises(TransientError, match="the Iceberg catalog is away"):
            erase_rows(catalog, EVENTS, EVENTS_DEFINITION, ids)
        erase_rows(catalog, EVENTS, EVENTS_DEFINITION, ids)
        table = catalog.load_table(EVENTS)
        assert [row["event_id"] for row in table.scan().to_arrow().to_pylist()] == [kept["event_id"]]
        assert remaining_files(table, ids) == []


def test_a_compaction_whose_answer_is_lost_loses_no_row(
    lakehouse: LakehousePlatform, rest_catalog: RestCatalogPlace
) -> None:
    for _ in range(3):
        lakehouse.publish_many(10)
        lakehouse.run()
    with lakehouse.catalog() as catalog:
        rest_catalog.gateway.once(COMMIT_OF_EVENTS, lose_answer)
        with pytest.raises(TransientError, match="the Iceberg catalog is away"):
            maintain(catalog.load_table(EVENTS), MaintenancePolicy(small_files_a_day=1))
    lakehouse.assert_exact()


def test_the_versions_are_the_catalogs_and_looking_creates_nothing(
    lakehouse: LakehousePlatform, rest_catalog: RestCatalogPlace
) -> None:
    assert table_versions(rest_catalog.iceberg) == {}
    assert not [request for request in rest_catalog.gateway.requests if request.startswith("POST")]
    lakehouse.run()
    with lakehouse.catalog() as catalog:
        assert table_versions(rest_catalog.iceberg) == {
            name: catalog.load_table(name).metadata_location for name in ALL_TABLES
        }
        assert (NAMESPACE,) in catalog.list_namespaces()
        location = catalog.load_table(EVENTS).location()
        assert location == f"{rest_catalog.iceberg.warehouse_location}/event_aggregations/events"


def test_a_wrong_property_is_corrected(lakehouse: LakehousePlatform) -> None:
    lakehouse.run()
    with lakehouse.catalog() as catalog:
        with catalog.load_table(EVENTS).transaction() as transaction:
            transaction.set_properties({RETRY_PROPERTY: "4"})
        assert catalog.load_table(EVENTS).properties[RETRY_PROPERTY] == "4"
        open_table(catalog, EVENTS)
        assert catalog.load_table(EVENTS).properties[RETRY_PROPERTY] == "0"


def test_a_token_opens_the_catalog_whatever_authorities_the_environment_names(
    rest_catalog: RestCatalogPlace, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.stranger))
    with_token = {CREDENTIAL: "", f"{PREFIX}TOKEN".lower(): TOKEN}
    assert table_versions(rest_catalog.iceberg.model_copy(update=with_token)) == {}


def test_a_silent_server_ends_the_request(rest_catalog: RestCatalogPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gourmetgram.lakehouse.rest_catalog._ANSWER_S", 0.2)
    silence = threading.Event()
    rest_catalog.gateway.once("GET /v1/namespaces", lambda: wait_in(silence))
    with pytest.raises(TransientError, match=r"the Iceberg catalog is away or too slow: .*Read timed out"):
        table_versions(rest_catalog.iceberg)
    silence.set()


def wait_in(silence: threading.Event) -> None:
    assert silence.wait(60)


def test_keys_that_the_catalog_lends_replace_those_of_the_settings(
    stack: Stack,
    lakehouse: LakehousePlatform,
    rest_catalog: RestCatalogPlace,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    wrong_keys = rest_catalog.iceberg.model_copy(
        update={
            f"{PREFIX}S3__ACCESS_KEY_ID".lower(): "nobody",
            f"{PREFIX}S3__SECRET_ACCESS_KEY".lower(): "no-key-at-all",
        }
    )
    lakehouse.publish_many(10)
    lakehouse.sources = lakehouse.sources._replace(iceberg=wrong_keys)
    with pytest.raises(TransientError, match="the object store is away"):
        lakehouse.run()
    database = lakehouse.sources.postgres.database_url
    with running_rest_catalog(stack, wrong_keys, database, certificates, tmp_path, lends_keys=True) as lending:
        assert lending.iceberg.s3_access_key_id == "nobody"
        lakehouse.sources = lakehouse.sources._replace(iceberg=lending.iceberg)
        assert lakehouse.run().records == 10
        lakehouse.assert_exact()


# Changed settings, class of the error, its words.
WRONG = [
    ({CREDENTIAL: "gourmetgram:another"}, CatalogLoginError, "refuses the login: invalid_client"),
    ({CREDENTIAL: ""}, CatalogLoginError, "refuses the login: NotAuthorizedException"),
    ({f"{PREFIX}WAREHOUSE".lower(): "another"}, PermanentError, "NoSuchWarehouseException"),
    ({f"{PREFIX}URI".lower(): "http://127.0.0.1:1"}, TransientError, "is away or too slow"),
    ({"iceberg_ca_location": ""}, TransientError, "CERTIFICATE_VERIFY_FAILED"),
]


@pytest.mark.parametrize(("changes", "kind", "words"), WRONG)
def test_a_wrong_setting_ends_in_a_sentence(
    rest_catalog: RestCatalogPlace, changes: dict[str, str], kind: type[Exception], words: str
) -> None:
    wrong: IcebergSettings = rest_catalog.iceberg.model_copy(update=changes)
    with pytest.raises(kind, match=words), open_catalog(wrong):
        pass


def test_a_server_that_answers_otherwise_is_named(rest_catalog: RestCatalogPlace) -> None:
    # A page that is always there, for clients without a login.
    elsewhere = {CREDENTIAL: "", f"{PREFIX}URI".lower(): f"{rest_catalog.iceberg.s3_endpoint}/minio/health/live?"}
    with pytest.raises(PermanentError, match="does not answer like an Iceberg REST catalog"):
        table_versions(rest_catalog.iceberg.model_copy(update=elsewhere))
