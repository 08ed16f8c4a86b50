"""Retraining in steps: check the drift, train, register a better model, publish it through the gate, report.

Each step takes and returns small documents, so that Airflow can run it as a task of its own. A repeated step finds what
its earlier attempt left: a version of the same run is not registered again, and a published one is not published again.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from mlflow import MlflowClient
from pyiceberg.catalog import Catalog

from gourmetgram.database.engines import create_worker_engine
from gourmetgram.drift.comparison import compare_features
from gourmetgram.drift.reference import model_in_use
from gourmetgram.drift.served import DEFAULT_HOURS, TimeWindow
from gourmetgram.lakehouse.catalog import open_catalog
from gourmetgram.models.package import mlflow_origin
from gourmetgram.models.publishing import ModelPublisher
from gourmetgram.models.settings import ModelStoreSettings
from gourmetgram.registry.client import download_serving, resolve
from gourmetgram.registry.gate import better_on_later_images
from gourmetgram.registry.publish import publish_registered
from gourmetgram.settings import IcebergSettings, PostgresSettings
from gourmetgram.training.dataset import open_training_table
from gourmetgram.training.run import train
from gourmetgram.training.settings import TrainingSettings
from model_training.lifecycle.basic_model import MODEL_NAME, BasicModel
from model_training.lifecycle.config import CONFIG_FILES, ProjectConfig, Tags
from model_training.lifecycle.drift_log import EXPERIMENT, log_drift
from model_training.lifecycle.origin import current_branch, current_commit
from model_training.lifecycle.registration import ALIAS, aliased_version, register_version
from model_training.lifecycle.retraining_report import (
    CheckedDrift,
    PublishOutcome,
    RetrainingReport,
    TrainedModel,
    retraining_reason,
    retraining_report,
)
from model_training.lifecycle.sgd_model import LoggedRun, log_sgd
from model_training.lifecycle.tracking import connect, named_failures, run_page

log = logging.getLogger(__name__)

OUTCOME_TAG: Final = "gourmetgram.retraining"
"""Tag of the drift check's run with the outcome of the retraining."""


ModelKind = Literal["basic", "sgd"]


class Stores(NamedTuple):
    """Settings of the stores of a retraining.

    Attributes:
        postgres: the application database, with the decisions.
        iceberg: the catalog and the object store.
        models: folder of the published models.
    """

    postgres: PostgresSettings
    iceberg: IcebergSettings
    models: ModelStoreSettings

    @contextmanager
    def publisher(self) -> Iterator[ModelPublisher]:
        """Open the folder of the published models."""
        opened = ModelPublisher(self.iceberg.object_store, self.models)
        try:
            yield opened
        finally:
            opened.close()


def check_drift(
    stores: Stores, *, hours: float = DEFAULT_HOURS, force: bool = False, experiment: str = EXPERIMENT
) -> CheckedDrift:
    """Compare the served features with the training rows, store the result in MLflow, and decide.

    Args:
        stores: settings of the stores.
        hours: length of the window of decisions, which ends now.
        force: True = train in any case.
        experiment: MLflow experiment of the drift checks.

    Raises:
        UnusableDataError: there is no training table, or it has no row.
        TransientError: a store or MLflow is away.
    """
    connect()
    window = TimeWindow.last_hours(hours, datetime.now(UTC))
    engine = create_worker_engine(stores.postgres, "gourmetgram-retraining")
    try:
        with stores.publisher() as publisher, open_catalog(stores.iceberg) as catalog:
            report = compare_features(engine, catalog, model_in_use(publisher), window)
            newest = open_training_table(catalog).snapshot_id
    finally:
        engine.dispose()
    logged = log_drift(report, experiment)
    wanted, reason = retraining_reason(report, newest, force=force)
    log.info("%s: %s", "Training" if wanted else "No training", reason)
    return CheckedDrift(
        train=wanted,
        reason=reason,
        run_id=logged.run_id,
        page=run_page(logged.run_id, logged.experiment_id),
        psi_max=report.largest and report.largest.psi,
        drifted=report.drifted,
    )


def train_model(stores: Stores, config: ProjectConfig, tags: Tags, model: ModelKind = "basic") -> TrainedModel:
    """Train a model of the newest snapshot, log it, and compare it with the registered one.

    Args:
        stores: settings of the stores.
        config: configuration of the moderation project.
        tags: origin of the model.
        model: `basic` for LightGBM, `sgd` for the lab's model.

    Raises:
        UnusableDataError: no model can be trained from the rows.
        TransientError: a store or MLflow is away; the run is marked as failed.
    """
    connect()
    with open_catalog(stores.iceberg) as catalog:
        return _basic(catalog, config, tags) if model == "basic" else _sgd(catalog, config, tags)


def _basic(catalog: Catalog, config: ProjectConfig, tags: Tags) -> TrainedModel:
    model = BasicModel(config, tags, catalog)
    model.load_data()
    model.prepare_features()
    model.train()
    model.log_model()
    return TrainedModel(
        run_id=model.run_id,
        page=run_page(model.run_id, model.experiment_id),
        model_uri=f"runs:/{model.run_id}/{MODEL_NAME}",
        model_name=config.model_name_basic,
        snapshot_id=model.train_data_version,
        figure="F1 score",
        score=model.metrics["f1_score"],
        improved=model.model_improved(),
    )


def _sgd(catalog: Catalog, config: ProjectConfig, tags: Tags) -> TrainedModel:
    # The number is given at the publication.
    run = train(catalog, version=1, horizon_minutes=TrainingSettings.load().label_horizon_minutes)
    logged = log_sgd(run, config, tags)
    return TrainedModel(
        run_id=logged.run_id,
        page=run_page(logged.run_id, logged.experiment_id),
        model_uri=logged.model_uri,
        model_name=logged.name,
        snapshot_id=str(run.snapshot_id),
        figure="average precision",
        score=run.model.average_precision,
        improved=_as_good_as_registered(catalog, logged),
    )


def _as_good_as_registered(catalog: Catalog, logged: LoggedRun) -> bool:
    """True if the model is at least as good on later images as the one behind the alias, or if there is none."""
    if aliased_version(logged.name) is None:
        return True
    client = MlflowClient()
    before = download_serving(client, resolve(client, f"models:/{logged.name}@{ALIAS}"))
    decision = better_on_later_images(catalog, logged.package, before)
    figures = decision.figures
    equal = figures is not None and figures.served is not None and figures.candidate == figures.served
    return decision.passed or equal


def register_trained(trained: TrainedModel, tags: Tags) -> str:
    """Register the model of a run, unless an earlier attempt did so; returns the version, which has the alias.

    Raises:
        TransientError: MLflow is away.
    """
    connect()
    client, name = MlflowClient(), trained.model_name
    with named_failures(f"The versions of {name} could not be read"):
        found = client.search_model_versions(f"name = '{name}' and run_id = '{trained.run_id}'")
    if not found:
        return register_version(trained.model_uri, name, tags.to_dict())
    version = max(int(each.version) for each in found)
    # The earlier attempt may have ended before it moved the alias.
    behind = aliased_version(name)
    if behind is None or int(behind.version) < version:
        with named_failures(f"Version {version} of {name} did not get the alias {ALIAS}"):
            client.set_registered_model_alias(name, ALIAS, str(version))
    return str(version)


def publish_trained(stores: Stores, trained: TrainedModel, version: str) -> PublishOutcome:
    """Publish a registered version if the gate lets it pass, unless an earlier attempt published it.

    Args:
        stores: settings of the stores.
        trained: the model.
        version: its version in the registry.

    Raises:
        PermanentError: the scorer would refuse the model.
        TransientError: a store or MLflow is away.
    """
    connect()
    with stores.publisher() as publisher:
        earlier = [
            each for each in publisher.versions() if mlflow_origin(each.metadata).get("run_id") == trained.run_id
        ]
        # The gate is not asked again. When the earlier attempt's model is in use, `publish_registered` only tags it.
        if earlier and not any(each.active for each in earlier):
            return PublishOutcome(version=earlier[-1].version, reason="an earlier attempt published it")
        uri = f"models:/{trained.model_name}/{version}"
        with open_catalog(stores.iceberg) as catalog:
            found = publish_registered(MlflowClient(), publisher, catalog, uri)
    reason = "an earlier attempt published it" if found.decision is None else found.decision.reason
    return PublishOutcome(version=found.version, reason=reason)


def report_outcome(report: RetrainingReport) -> None:
    """Log the outcome, and note it at the drift check's run in MLflow.

    Raises:
        TransientError: MLflow is away.
    """
    connect()
    log.info("%s", report.outcome)
    with named_failures("The outcome of the retraining could not be stored"):
        MlflowClient().set_tag(report.drift.run_id, OUTCOME_TAG, report.outcome)


def project_config(environment: str) -> ProjectConfig:
    """Configuration of the moderation project in an environment.

    Raises:
        SettingsError: the environment is unknown.
    """
    return ProjectConfig.from_yaml(CONFIG_FILES["moderation"], environment)


def job_tags(job_run_id: str) -> Tags:
    """Tags of a model that a job trains; the commit is `unknown` where the code is installed without its checkout."""
    return Tags(git_sha=current_commit(), branch=current_branch(), run_id=job_run_id)


def retrain(
    stores: Stores,
    config: ProjectConfig,
    tags: Tags,
    *,
    model: ModelKind = "basic",
    hours: float = DEFAULT_HOURS,
    force: bool = False,
    experiment: str = EXPERIMENT,
) -> RetrainingReport:
    """Take all steps, one after the other; the DAG model_retraining takes the same as tasks.

    Args:
        stores: settings of the stores.
        config: configuration of the moderation project.
        tags: origin of the model.
        model: `basic` for LightGBM, `sgd` for the lab's model.
        hours: length of the window of decisions, which ends now.
        force: True = train in any case; the gate still decides on the publication.
        experiment: MLflow experiment of the drift checks.

    Raises:
        UnusableDataError: no model can be trained from the rows.
        TransientError: a store or MLflow is away; steps that were taken stay.
    """
    report = retraining_report(check_drift(stores, hours=hours, force=force, experiment=experiment))
    if report.drift.train:
        trained = train_model(stores, config, tags, model)
        version = register_trained(trained, tags) if trained.improved else None
        published = publish_trained(stores, trained, version) if version else None
        report = retraining_report(report.drift, trained, version, published)
    report_outcome(report)
    return report
