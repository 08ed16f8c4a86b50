"""Real, small models for tests: trained with scikit-learn, published to the test stack's object store."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import joblib
import numpy as np
import orjson
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from gourmetgram.features.definition import CATEGORIES, FEATURE_NAMES, NUMERIC_FEATURES
from gourmetgram.models.settings import ModelStoreSettings
from gourmetgram.models.signing import signed as sign

SIGNING_KEY = "a-key-of-tests-with-enough-characters"
NUMERIC = len(NUMERIC_FEATURES)
VIEWS_5MIN = FEATURE_NAMES.index("views_5min")


def pickled(value: object) -> bytes:
    """The bytes of a .joblib file."""
    buffer = io.BytesIO()
    joblib.dump(value, buffer)
    return buffer.getvalue()


def train(seed: int = 42) -> tuple[SGDClassifier, StandardScaler, OneHotEncoder]:
    """Train on rows in which many views make an image harmful; different seeds give different models."""
    random = np.random.default_rng(seed)
    rows = np.zeros((400, len(FEATURE_NAMES)), dtype=np.float32)
    rows[:, :NUMERIC] = random.integers(0, 200, size=(400, NUMERIC))
    rows[np.arange(400), NUMERIC + random.integers(0, len(CATEGORIES), size=400)] = 1
    labels = (rows[:, VIEWS_5MIN] > 100).astype(np.int64)
    scaler = StandardScaler().fit(rows[:, :NUMERIC])
    columns = np.hstack([scaler.transform(rows[:, :NUMERIC]), rows[:, NUMERIC:]])
    model = SGDClassifier(loss="log_loss", random_state=42, alpha=0.1).fit(columns, labels)
    encoder = OneHotEncoder(categories=[list(CATEGORIES)], handle_unknown="ignore", sparse_output=False)
    encoder.fit(np.array([[name] for name in CATEGORIES], dtype=object))
    return model, scaler, encoder


def expected_probability(seed: int, features: Mapping[str, float]) -> float:
    """What the model of that seed says about the features of a row, computed by scikit-learn alone."""
    model, scaler, _ = train(seed)
    vector = np.array([[features[name] for name in FEATURE_NAMES]], dtype=np.float32)
    columns = np.hstack([scaler.transform(vector[:, :NUMERIC]), vector[:, NUMERIC:]])
    return round(float(model.predict_proba(columns)[0, 1]), 6)


def artifacts(version: int = 1, seed: int = 42, **changes: Any) -> dict[str, bytes]:
    """The four files of a model.

    Args:
        version: also decides `updated_at`.
        seed: see `train`.
        changes: other content of files (by `model`, `scaler`, `encoder`: any object) or of fields of the metadata.
    """
    objects = dict(zip(("model", "scaler", "encoder"), train(seed), strict=True))
    objects |= {name: changes.pop(name) for name in list(changes) if name in objects}
    files = {f"{name}.joblib": pickled(value) for name, value in objects.items()}
    metadata = {
        "version": version,
        "updated_at": (datetime(2026, 3, 4, tzinfo=UTC) + timedelta(hours=version)).isoformat(),
        "rows_seen": 400,
        "feature_names": FEATURE_NAMES,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        **changes,
    }
    return {**files, "metadata.json": orjson.dumps(metadata)}


@dataclass
class Bucket:
    """A folder of models in the object store."""

    environment: Mapping[str, str]
    prefix: str = "models/moderation/"
    keys: Sequence[str] = (SIGNING_KEY,)

    def __post_init__(self) -> None:
        self.name = self.environment["S3_BUCKET_NAME"]
        self.settings = ModelStoreSettings(
            model_bucket=self.name, model_prefix=self.prefix, model_signing_keys=tuple(self.keys)
        )
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.environment["S3_ENDPOINT_URL"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        )

    @property
    def variables(self) -> dict[str, str]:
        """The variables of a reader of this folder."""
        return {
            **self.environment,
            "MODEL_BUCKET": self.name,
            "MODEL_PREFIX": self.prefix,
            "MODEL_SIGNING_KEYS": ",".join(self.keys),
        }

    def put(self, files: Mapping[str, bytes], *, signed: bool = True) -> None:
        """Upload files, the metadata last, and signed as a publisher would."""
        if signed and files.get("metadata.json", b"").endswith(b"}"):
            document = orjson.loads(files["metadata.json"])
            address = f"s3://{self.name}/{self.prefix}metadata.json"
            files = {**files, "metadata.json": orjson.dumps(sign(document, address, self.settings.signing_keys()))}
        for name in sorted(files, key=lambda name: name == "metadata.json"):
            self.client.put_object(Bucket=self.name, Key=self.prefix + name, Body=files[name])
