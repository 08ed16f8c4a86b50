"""Results of the steps of a retraining: documents that Airflow hands from task to task, and sentences about them."""

from pydantic import BaseModel, ConfigDict

from gourmetgram.drift.comparison import DriftReport
from gourmetgram.training.evaluation import decimals


class CheckedDrift(BaseModel):
    """Result of the first step.

    Attributes:
        train: True when a model should be trained.
        reason: the reason in a sentence.
        run_id: MLflow run of the check.
        page: address of the run.
        psi_max: largest index; None with too few rows.
        drifted: names of the drifted features.
    """

    train: bool
    reason: str
    run_id: str
    page: str
    psi_max: float | None
    drifted: list[str]


class TrainedModel(BaseModel):
    """Result of the training.

    Attributes:
        run_id: MLflow run with the logged model.
        page: address of the run.
        model_uri: address of the logged model.
        model_name: registered name of such models.
        snapshot_id: snapshot of the training rows.
        figure: name of the figure that decides about the registration.
        score: its value on the test rows; None when it is undefined.
        improved: True when no registered model is better on the same rows.
    """

    # Names with `model_` are pydantic's own otherwise.
    model_config = ConfigDict(protected_namespaces=())

    run_id: str
    page: str
    model_uri: str
    model_name: str
    snapshot_id: str
    figure: str
    score: float | None
    improved: bool


class PublishOutcome(BaseModel):
    """Result of the publication.

    Attributes:
        version: version that the scorer serves from now on; None when the gate refused the model.
        reason: the gate's reason, as part of a sentence.
    """

    version: int | None
    reason: str


class RetrainingReport(BaseModel):
    """Result of all steps; a step that was left out is None.

    Attributes:
        outcome: the outcome in a sentence.
        drift: the drift check.
        trained: the new model.
        registered_version: its version in the registry.
        published: its publication.
    """

    outcome: str
    drift: CheckedDrift
    trained: TrainedModel | None = None
    registered_version: str | None = None
    published: PublishOutcome | None = None


def retraining_reason(report: DriftReport, newest_snapshot: int, *, force: bool) -> tuple[bool, str]:
    """Decide whether to train, with the reason in a sentence.

    Args:
        report: the drift of the model in use.
        newest_snapshot: newest snapshot of the training table.
        force: True = train in any case.
    """
    if force:
        return True, f"The run asks for it (force). {report.summary}"
    if report.model_version is None:
        return True, "No model is in use."
    if not report.drifted:
        return False, report.summary
    if report.snapshot_id == newest_snapshot:
        return False, (
            f"{report.summary} But the model in use was trained on the newest snapshot, {newest_snapshot}: trigger the "
            "DAGs redpanda_event_aggregation and moderation_training first."
        )
    return True, report.summary


def retraining_report(
    drift: CheckedDrift,
    trained: TrainedModel | None = None,
    registered_version: str | None = None,
    published: PublishOutcome | None = None,
) -> RetrainingReport:
    """Put the results of the steps together, with the outcome in a sentence; a step that was left out is None."""
    if trained is None:
        outcome = f"No training: {drift.reason}"
    elif registered_version is None:
        score = f"{trained.figure} than {decimals(trained.score)}"
        outcome = f"Trained, not registered: the registered model has a better {score}."
    elif published is None or published.version is None:
        reason = published.reason if published else "the publication was left out"
        outcome = f"Registered as version {registered_version}, not published: {reason}."
    else:
        outcome = (
            f"Registered as version {registered_version}, in use as version {published.version}, because "
            f"{published.reason}. The reason for the training: {drift.reason}"
        )
    return RetrainingReport(
        outcome=outcome, drift=drift, trained=trained, registered_version=registered_version, published=published
    )
