"""Publishing of models as a state machine on a real object store, with a real reader: the scorer's poller.

A publisher is interrupted before and after each of its writes: it dies, an answer is lost, a request is sent twice, or
another process works in between.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, Final

import orjson
import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from pyiceberg.catalog import Catalog

from gourmetgram.errors import PermanentError, PlatformError, TransientError
from gourmetgram.lakehouse import file_io
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.lakehouse.commits import append_files
from gourmetgram.lakehouse.maintenance import MaintenancePolicy
from gourmetgram.models import publishing
from gourmetgram.models.artifacts import ARTIFACT_NAMES, METADATA_NAME, load_model
from gourmetgram.models.package import ModelPackage
from gourmetgram.models.publishing import ModelPublisher, check_package
from gourmetgram.models.retention import snapshots_of_models
from gourmetgram.models.settings import ModelStoreSettings
from gourmetgram.moments import utc_text
from gourmetgram.settings import IcebergSettings, ObjectStoreSettings
from gourmetgram.training_data import retention
from gourmetgram.training_data.names import EXTRACTED_AT, TRAINING_TABLE
from gourmetgram.training_data.retention import keep_trained, maintain_training_data
from gourmetgram.training_data.table import ensure_training_table
from risk_scoring_service.model_poller import ModelPoller
from tests.support.machines import TIMEOUT_S, Interruption, machine_settings
from tests.support.models import artifacts

pytestmark = pytest.mark.servers

START: Final = datetime(2026, 5, 17, tzinfo=UTC)
EAGER: Final = MaintenancePolicy(max_snapshots=1, keep_snapshots=1, grace=timedelta(0))
FILES: Final = (*ARTIFACT_NAMES, METADATA_NAME)
POINTS: Final = [
    f"{place}{name} {moment}" for place in ("version: ", "") for name in FILES for moment in ("begun", "done")
]
SERVING_POINTS: Final = [point for point in POINTS if not point.startswith("version")]
FAULTS: Final = ("crash", "lost answer", "sent twice")
OTHERS: Final = ("activate", "rollback", "retain", "train", "strip", "put a copy", "spoil the pointer")


@cache
def _artifacts(seed: int) -> dict[str, bytes]:
    return artifacts(seed=seed)


class _SentTwiceError(Exception):
    """The client lost the answer to a request, and sends it again."""


class PublishingMachine(RuleBasedStateMachine):
    """Publishers, people, retention, a reader and faults. Subclasses name the stores.

    Attributes:
        packages: each package that was ever given to a publisher, by its number (`rows_seen`).
        package_of: number of the package of each complete version.
        in_use: the highest version that was seen in use since the last time that a person chose one.
        asked: True when a person may have chosen a version since then.
        spoiled: True while metadata.json is not authentic.
    """

    environment: Mapping[str, str]
    number = 0
    clock = START

    def __init__(self) -> None:
        super().__init__()
        type(self).number += 1
        type(self).clock = START
        prefix = f"{self.environment['MODEL_PREFIX']}{self.number}/"
        self.objects = ObjectStoreSettings.load(self.environment)
        self.models = ModelStoreSettings.load({**self.environment, "MODEL_PREFIX": prefix})
        self.interruption = Interruption()
        self.publisher, self.other = (ModelPublisher(self.objects, self.models) for _ in range(2))
        self._interrupt(self.publisher)
        self._interrupt(self.other)
        self.poller = ModelPoller(self.other, 1.0)
        self.catalog = self._open_catalog(prefix)
        self.packages: dict[int, ModelPackage] = {}
        self.package_of: dict[int, int] = {}
        self.in_use, self.asked, self.spoiled = 0, False, False

    def _open_catalog(self, prefix: str) -> Catalog:
        warehouse = {"PYICEBERG_CATALOG__GOURMETGRAM__WAREHOUSE": f"s3://{self.models.model_bucket}/{prefix}warehouse"}
        self.opened = open_catalog(IcebergSettings.load({**self.environment, **warehouse}))
        return self.opened.__enter__()

    def _interrupt(self, publisher: ModelPublisher) -> None:
        """Let the interruption see each write of a publisher, before it is sent and after it was carried out."""
        put = publisher._client.put_object

        def put_object(**request: Any) -> Any:
            point = re.sub(r"versions/\d+/", "version: ", request["Key"].removeprefix(publisher.prefix))
            try:
                self.interruption.reach(f"{point} begun")
                answer = put(**request)
                self.spoiled &= point != METADATA_NAME
                self.interruption.reach(f"{point} done")
            except _SentTwiceError:
                put(**request)
                return put(**request)
            return answer

        publisher._client.put_object = put_object

    # --- publishers --------------------------------------------------------------------------------------------------

    @initialize()
    def train_first(self) -> None:
        """Make the training table, and its first snapshot."""
        ensure_training_table(self.catalog)
        self.train()

    @rule()
    def train(self) -> None:
        """Load training rows, and read them for a training."""
        table = self.catalog.load_table(TRAINING_TABLE)
        number = len(table.metadata.metadata_log)
        append_files(table, [], {EXTRACTED_AT: utc_text(START + timedelta(hours=number))}, {})
        snapshot = table.current_snapshot()
        assert snapshot is not None
        keep_trained(table, snapshot)
        self.trained = snapshot.snapshot_id

    @rule(seed=st.integers(1, 2))
    def publish(self, seed: int) -> None:
        """Publish a model, undisturbed."""
        self._publish(self.publisher, seed)

    @rule(seed=st.integers(1, 2), point=st.sampled_from(POINTS), fault=st.sampled_from(FAULTS))
    def publish_with_a_fault(self, seed: int, point: str, fault: str) -> None:
        """Publish a model, with a fault at a point."""
        with self.interruption.at(point, self._fault(fault)):
            self._publish(self.publisher, seed)

    @rule(
        seed=st.integers(1, 2),
        point=st.sampled_from(POINTS),
        other=st.sampled_from(OTHERS),
        version=st.integers(0, 9),
    )
    def publish_beside(self, seed: int, point: str, other: str, version: int) -> None:
        """Publish a model, while another process does something at a point."""
        with self.interruption.at(point, partial(self._other, other, version)):
            self._publish(self.publisher, seed)

    @rule(seed=st.integers(1, 2), point=st.sampled_from(POINTS))
    def publish_twice(self, seed: int, point: str) -> None:
        """Publish a model; another publisher overtakes this one at a point."""
        with self.interruption.at(point, partial(self._other, "publish", 0)):
            self._publish(self.publisher, seed)

    def _publish(self, publisher: ModelPublisher, seed: int) -> None:
        files = dict(_artifacts(seed))
        number = len(self.packages) + 1
        metadata = {
            **orjson.loads(files.pop(METADATA_NAME)),
            "rows_seen": number,
            "snapshot_id": str(self.trained),
        }
        self.packages[number] = ModelPackage(files, metadata)
        with suppress(TransientError):
            publisher.publish(self.packages[number])

    def _fault(self, fault: str) -> Callable[[], None] | None:
        def lose() -> None:
            raise EndpointConnectionError(endpoint_url="http://gone")

        def repeat() -> None:
            raise _SentTwiceError

        return {"crash": None, "lost answer": lose, "sent twice": repeat}[fault]

    def _other(self, what: str, version: int) -> None:
        actions: dict[str, Callable[[], object]] = {
            "publish": lambda: self._publish(self.other, 1),
            "activate": lambda: self._activate(self.other, version),
            "rollback": lambda: self._rollback(self.other),
            "retain": self.retain,
            "train": self.train,
            "strip": lambda: self.strip(version),
            "put a copy": lambda: self.put_a_copy(version),
            "spoil the pointer": self.spoil_the_pointer,
        }
        actions[what]()
        # A reader polls meanwhile.
        self.the_version_in_use_is_complete_signed_and_not_an_earlier_one()

    # --- people ------------------------------------------------------------------------------------------------------

    @rule(version=st.integers(0, 9))
    def activate(self, version: int) -> None:
        """Choose a version, undisturbed."""
        self._activate(self.publisher, version)

    @rule(
        version=st.integers(0, 9),
        point=st.sampled_from(SERVING_POINTS),
        what=st.sampled_from((*FAULTS, "publish", *OTHERS)),
        of=st.integers(0, 9),
    )
    def activate_beside(self, version: int, point: str, what: str, of: int) -> None:
        """Choose a version, while something happens at a point."""
        act = self._fault(what) if what in FAULTS else partial(self._other, what, of)
        with self.interruption.at(point, act):
            self._activate(self.publisher, version)

    def _activate(self, publisher: ModelPublisher, which: int) -> None:
        complete = sorted(self._metadata_by_version())
        if complete:
            self._choose(lambda: publisher.activate(complete[which % len(complete)]))

    @rule()
    def rollback(self) -> None:
        """Go back to the version before."""
        self._rollback(self.publisher)

    def _rollback(self, publisher: ModelPublisher) -> None:
        self._choose(publisher.rollback)

    def _choose(self, choice: Callable[[], object]) -> None:
        try:
            with suppress(PermanentError, TransientError):
                choice()
        finally:
            self.asked = True

    @rule(which=st.integers(0, 9))
    def sign(self, which: int) -> None:
        """Sign a version whose signature was taken away."""
        complete = sorted(self._metadata_by_version())
        if complete and complete[which % len(complete)] in self.package_of:
            self.publisher.sign(complete[which % len(complete)])

    @rule()
    def retain(self) -> None:
        """Expire the snapshots of the training table that no model names."""
        try:
            maintain_training_data(self.catalog, snapshots_of_models(self.objects, self.models), EAGER)
        except PlatformError:
            assert any("signature" not in found for found in self._metadata_by_version().values()) or any(
                found["version"] != version for version, found in self._metadata_by_version().items()
            )

    @rule(hours=st.sampled_from((-30, -1, 1, 30)))
    def set_clock(self, hours: int) -> None:
        """Set the clock of the publishers."""
        if not self.spoiled or hours > 0:
            type(self).clock += timedelta(hours=hours)

    # --- an intruder -------------------------------------------------------------------------------------------------

    @rule(which=st.integers(0, 9))
    def strip(self, which: int) -> None:
        """Take the signature from a stored version."""
        found = self._metadata_by_version()
        if found:
            version = sorted(found)[which % len(found)]
            document = {name: value for name, value in found[version].items() if name != "signature"}
            self._put(f"versions/{version}/{METADATA_NAME}", orjson.dumps(document))

    @rule(which=st.integers(0, 9))
    def put_a_copy(self, which: int) -> None:
        """Put a signed version into a folder of its own, as if it were a newer one."""
        found = self._metadata_by_version()
        if found:
            version, folder = sorted(found)[which % len(found)], self.other.next_version()
            for name in FILES:
                self._put(f"versions/{folder}/{name}", self.other.read(f"versions/{version}/{name}"))

    @rule()
    def spoil_the_pointer(self) -> None:
        """Put a metadata.json beside the model that no publisher has signed."""
        with suppress(PermanentError):
            # Its time is lost, too: a clock that has gone back before is not noticed any more.
            latest = self.other.served_metadata().updated_at + timedelta(hours=1)
            type(self).clock = max(self.clock, latest)
        document = {"version": 99, "folder": "versions/99/", "updated_at": utc_text(self.clock + timedelta(days=99))}
        self._put(METADATA_NAME, orjson.dumps(document))
        self.spoiled = True

    def _put(self, name: str, content: bytes) -> None:
        self.other._client.put_object(Bucket=self.other.bucket, Key=self.other.prefix + name, Body=content)

    def _metadata_by_version(self) -> dict[int, dict[str, Any]]:
        """Content of the metadata of each complete version, whoever wrote it."""
        found = {}
        for version in self.other._numbers():
            try:
                found[version] = orjson.loads(self.other.read(f"versions/{version}/{METADATA_NAME}"))
            except PermanentError:
                continue
        return found

    # --- promises ----------------------------------------------------------------------------------------------------

    @invariant()
    def the_version_in_use_is_complete_signed_and_not_an_earlier_one(self) -> None:
        """The reader has the version in use, or keeps the former one while metadata.json is not authentic."""
        before = self.poller.model
        self.poller.look()
        pointer = None if self.spoiled else self._pointer()
        if pointer is None:
            assert self.poller.model is before
            return
        package = self.other.read_active()
        check_package(package)
        assert package.files == self.packages[package.metadata["rows_seen"]].files
        assert self.poller.model is not None
        assert self.poller.model.metadata.version == package.metadata["version"] == pointer
        assert self.asked or pointer >= self.in_use
        self.in_use, self.asked = pointer, False

    def _pointer(self) -> int | None:
        version = self.other.active_version()
        assert version is not None or not self.in_use
        return version

    @invariant()
    def versions_never_change(self) -> None:
        """A complete version stays that of its publisher; a copy under another number is not authentic."""
        for version, document in self._metadata_by_version().items():
            if document["version"] == version:
                assert self.package_of.setdefault(version, document["rows_seen"]) == document["rows_seen"]
        authentic = {model.version for model in self.other.versions() if not model.problem}
        assert authentic <= self.package_of.keys()

    @invariant()
    def snapshots_that_models_name_stay(self) -> None:
        """Each snapshot that a stored version names is in the table, with its files."""
        file_io._kept.clear()
        table = self.catalog.load_table(TRAINING_TABLE)
        kept = {snapshot.snapshot_id: snapshot for snapshot in table.metadata.snapshots}
        for number in self.package_of.values():
            snapshot_id = int(self.packages[number].metadata["snapshot_id"])
            assert snapshot_id in kept
            kept[snapshot_id].manifests(table.io)

    def teardown(self) -> None:
        """After one more publication, readers of every kind have the newest version."""
        try:
            if self.packages:
                self._publish(self.publisher, 1)
                self.the_version_in_use_is_complete_signed_and_not_an_earlier_one()
                metadata = self.other.served_metadata()
                assert metadata.version == max(self._metadata_by_version())
                load_model(metadata, {name: self.other.read(name) for name in ARTIFACT_NAMES})
        finally:
            self.catalog.drop_table(TRAINING_TABLE)
            self.opened.__exit__(None, None, None)
            self.publisher.close()
            self.other.close()


@pytest.mark.timeout(TIMEOUT_S)
def test_no_order_of_publishers_faults_and_intruders_serves_a_broken_or_earlier_model(
    lake_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Machine(PublishingMachine):
        environment = lake_environment

    monkeypatch.setattr(publishing, "datetime", SimpleNamespace(now=lambda _zone: Machine.clock))
    monkeypatch.setattr(retention, "MAX_TRAINED", 2)
    run_state_machine_as_test(Machine, settings=machine_settings(examples=15, steps=12))
