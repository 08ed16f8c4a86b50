"""From rows of moderation.training_data to a model that the scorer's own loader takes."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from gourmetgram.features.definition import CATEGORIES, FEATURE_NAMES, NUMERIC_FEATURES
from gourmetgram.models.artifacts import ARTIFACT_NAMES, load_model, parse_metadata
from gourmetgram.models.package import metadata_text, read_package, write_package
from gourmetgram.models.publishing import check_package
from gourmetgram.training.dataset import UnusableDataError, open_training_rows
from gourmetgram.training.evaluation import measure, rule_scores
from gourmetgram.training.run import train
from gourmetgram.training.split import split_by_upload
from gourmetgram.training_data.table import ARROW_SCHEMA, TRAINING_TABLE
from risk_scoring_service.model_poller import ModelPoller
from tests.support.training_rows import NOW, synthetic_rows, training_row, write_rows


pytestmark = pytest.mark.servers


def test_a_model_goes_from_the_table_to_the_scorer(catalog, publisher, tmp_path):
    write_rows(catalog, synthetic_rows(images=300))
    run = train(catalog, version=publisher.next_version(), provisional_minutes=30)
    published = publisher.publish(run.package)
    poller = ModelPoller(publisher, interval_s=30)
    poller.look()
    assert poller.model is not None
    assert poller.model.version == "1"
    assert poller.model.metadata.rows_seen == run.balance.rows == 720
    rows = np.random.default_rng(1).random((5, 29)).astype(np.float32)
    served = poller.model.predict(rows)
    assert served.tolist() == check_package(published).predict(rows).tolist()
