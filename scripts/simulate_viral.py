#!/usr/bin/env python3
"""Make one image look viral: publish 110 view events for it directly to Kafka, without the API.

The script needs no code of this repository:  pip install kafka-python psycopg2-binary

The platform's own variables describe a broker with TLS or a login: KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_MECHANISM,
KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SSL_CA_LOCATION.

The counter `images.views` does not move, because no view went through the API.
"""

import argparse
import json
import os
import sys
import time
import uuid
from pathlib import Path

import psycopg2
from kafka import KafkaProducer
from kafka.errors import KafkaError

TOPIC = "gourmetgram.views"
VIEWS = 110
SPREAD_SECONDS = 240.0
"""Seconds over which the event times are spread, all inside the window of five minutes."""

SETTINGS_FILES = [Path(__file__).resolve().parent.parent / "docker" / name for name in (".env.example", ".env")]
"""Files with the lab's login; the second wins."""

# An image with a `viral` decision within the last hour is in cool-down: a burst on it would raise no request. The
# cool-down counts in event time, and the events of this burst begin four minutes ago.
CHOOSE_IMAGE = """
SELECT i.id::text FROM images AS i
WHERE i.deleted_at IS NULL
ORDER BY EXISTS (
    SELECT FROM moderation AS m
    WHERE m.target_type = 'image' AND m.target_id = i.id AND m.trigger_type = 'viral'
      AND m.created_at > now() - interval '64 minutes'
), random()
LIMIT 1
"""


def main() -> int:
    """Run the script; returns the exit code."""
    options = parse_arguments()
    try:
        image_id = str(options.image_id) if options.image_id else choose_image(options.database_url or lab_database())
    except psycopg2.Error as error:
        return failed(f"PostgreSQL cannot be asked for an image ({first_line(error)}). Is the platform up?")
    if image_id is None:
        return failed("No images found in the database. Run the data generator first.")
    print(f"Simulating viral burst for image: {image_id}")
    print(f"Publishing {VIEWS} view events to '{TOPIC}'...")
    try:
        publish(options.bootstrap, image_id)
    except KafkaError as error:
        return failed(f"The broker at {options.bootstrap} did not take the events ({error!r}). Is the platform up?")
    print(f"Done. {VIEWS} view events published.")
    print("\nSee what follows:\n  docker logs -f stream-consumer\n  docker logs -f risk-scoring-service")
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image_id", nargs="?", type=uuid.UUID, help="image to simulate (default: a random one)")
    parser.add_argument("--bootstrap", default="localhost:19092", help="Kafka broker (%(default)s)")
    parser.add_argument(
        "--database-url",
        default=None,
        help="PostgreSQL, asked for a random image (localhost:5432 with the login of docker/.env)",
    )
    return parser.parse_args()


def lab_database() -> str:
    """Address of the lab's PostgreSQL, with the login of docker/.env, else of docker/.env.example."""
    login = {"POSTGRES_USER": "user", "POSTGRES_PASSWORD": "", "POSTGRES_DB": "gourmetgram"}
    for path in SETTINGS_FILES:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        pairs = (line.partition("=") for line in lines if not line.lstrip().startswith("#"))
        login.update({name.strip(): value.strip().strip("'\"") for name, _equals, value in pairs})
    address: str = psycopg2.extensions.make_dsn(
        host="localhost",
        port=5432,
        user=login["POSTGRES_USER"],
        password=login["POSTGRES_PASSWORD"] or None,
        dbname=login["POSTGRES_DB"],
    )
    return address


def choose_image(database_url: str) -> str | None:
    """Choose a random image that is not deleted, if possible one out of cool-down; None without images."""
    connection = psycopg2.connect(database_url, connect_timeout=10)
    try:
        with connection.cursor() as cursor:
            cursor.execute(CHOOSE_IMAGE)
            row = cursor.fetchone()
    finally:
        connection.close()
    return row[0] if row else None


def publish(bootstrap: str, image_id: str) -> None:
    """Publish the views, the oldest first, and wait until the broker has confirmed all of them."""
    producer = KafkaProducer(
        bootstrap_servers=bootstrap, acks="all", max_block_ms=10_000, bootstrap_timeout_ms=10_000, **security()
    )
    try:
        now = time.time()
        sent = []
        for number in range(VIEWS):
            event = {
                "event_type": "view",
                "image_id": image_id,
                "user_id": f"sim-user-{number}",
                "timestamp": now - SPREAD_SECONDS * (VIEWS - 1 - number) / (VIEWS - 1),
            }
            sent.append(producer.send(TOPIC, key=image_id.encode(), value=json.dumps(event).encode()))
        for future in sent:
            future.get(timeout=30)
    finally:
        producer.close(timeout=10)


def security() -> dict[str, str | None]:
    """Options for TLS and for the login."""
    return {
        "security_protocol": os.environ.get("KAFKA_SECURITY_PROTOCOL") or "PLAINTEXT",
        "sasl_mechanism": os.environ.get("KAFKA_SASL_MECHANISM") or "PLAIN",
        "sasl_plain_username": os.environ.get("KAFKA_SASL_USERNAME"),
        "sasl_plain_password": os.environ.get("KAFKA_SASL_PASSWORD"),
        "ssl_cafile": os.environ.get("KAFKA_SSL_CA_LOCATION") or None,
    }


def first_line(error: Exception) -> str:
    """First line of a driver's message."""
    return str(error).strip().split("\n", 1)[0]


def failed(sentence: str) -> int:
    """Print the error and the next step."""
    print(sentence, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
