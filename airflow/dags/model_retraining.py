"""Daily DAG: a new model when the served images have drifted away from those that the model in use was trained on.

`check_drift` compares the features of the last decisions with the training rows, and stores the result in MLflow
(experiment `/Shared/gourmetgram-drift`). The next tasks run when a feature has drifted, when no model is in use, or
when the parameter `force` is true. `train` logs a model of the newest snapshot. `register` runs only when no registered
model is better on the same test rows. `publish` puts the model in use only when the gate finds it better than the
served one on later images. `report` runs in any case, and says how it ended.

The tasks hand each other ids. So a repeated task registers or publishes no model twice.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, task
from airflow.sdk.exceptions import AirflowSkipException
from platform_access import task_timeout


@dag(
    dag_id="model_retraining",
    description="Train, register and publish a model when the served features have drifted",
    schedule="@daily",
    start_date=datetime(2023, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=True,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30), "execution_timeout": task_timeout()},
    params={
        "force": Param(default=False, type="boolean", description="Train also without drift. The gate still decides."),
        "hours": Param(
            default=24.0, type="number", exclusiveMinimum=0, description="Hours of decisions that are compared."
        ),
        "model": Param(
            default="basic", enum=["basic", "sgd"], description="LightGBM (`basic`), or the lab's SGD model (`sgd`)."
        ),
        "environment": Param(
            default="dev",
            enum=["dev", "acc", "prd"],
            description="Section of the project's configuration, which names the registered model.",
        ),
    },
    tags=["gourmetgram"],
    doc_md=__doc__,
)
def model_retraining() -> None:
    """Check the drift, train, register, publish, report."""

    @task
    def check_drift(params: dict[str, Any]) -> dict[str, Any]:
        """Compare served features with training rows, and decide whether to train."""
        from platform_access import no_retry_for_permanent_errors, retraining_stores

        from model_training.lifecycle import retraining

        with no_retry_for_permanent_errors():
            checked = retraining.check_drift(retraining_stores(), hours=params["hours"], force=params["force"])
        return checked.model_dump()

    @task
    def train(checked: dict[str, Any], params: dict[str, Any], run_id: str) -> dict[str, Any]:
        """Train a model of the newest snapshot and log it; skipped without a reason to train."""
        from platform_access import no_retry_for_permanent_errors, retraining_stores

        from model_training.lifecycle import retraining

        if not checked["train"]:
            raise AirflowSkipException(checked["reason"])
        with no_retry_for_permanent_errors():
            config = retraining.project_config(params["environment"])
            tags = retraining.job_tags(run_id)
            trained = retraining.train_model(retraining_stores(), config, tags, params["model"])
        return trained.model_dump()

    @task
    def register(trained: dict[str, Any], run_id: str) -> str:
        """Register the model behind the alias; skipped when a registered model is better."""
        from platform_access import no_retry_for_permanent_errors

        from model_training.lifecycle import retraining
        from model_training.lifecycle.retraining_report import TrainedModel

        if not trained["improved"]:
            raise AirflowSkipException(f"The registered model has a better {trained['figure']} on the same rows.")
        with no_retry_for_permanent_errors():
            return retraining.register_trained(TrainedModel(**trained), retraining.job_tags(run_id))

    @task
    def publish(trained: dict[str, Any], version: str) -> dict[str, Any]:
        """Put the registered version in use if it is better on later images than the served model."""
        from platform_access import no_retry_for_permanent_errors, retraining_stores

        from model_training.lifecycle import retraining
        from model_training.lifecycle.retraining_report import TrainedModel

        with no_retry_for_permanent_errors():
            published = retraining.publish_trained(retraining_stores(), TrainedModel(**trained), version)
        return published.model_dump()

    @task(trigger_rule="none_failed")
    def report(
        checked: dict[str, Any],
        trained: dict[str, Any] | None,
        version: str | None,
        published: dict[str, Any] | None,
    ) -> dict[str, Any]:
        """Say how it ended, here and at the drift check in MLflow."""
        from platform_access import no_retry_for_permanent_errors

        from model_training.lifecycle import retraining
        from model_training.lifecycle import retraining_report as results

        with no_retry_for_permanent_errors():
            made = results.retraining_report(
                results.CheckedDrift(**checked),
                results.TrainedModel(**trained) if trained else None,
                version,
                results.PublishOutcome(**published) if published else None,
            )
            retraining.report_outcome(made)
        return made.model_dump()

    checked = check_drift()
    trained = train(checked, run_id="{{ run_id }}")
    version = register(trained, run_id="{{ run_id }}")
    published = publish(trained, version)
    report(checked, trained, version, published)


model_retraining()
