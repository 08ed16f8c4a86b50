#!/usr/bin/env python3
"""Make one image go viral: publish 110 view events straight to Kafka, past the API.

    pip install kafka-python psycopg2-binary
    python3 scripts/simulate_viral.py [image_id]

Without an image id a random image of the database is taken, one that has no `viral` request of the last hour (each
image raises at most one an hour). `images.views` does not move: these views exist in the stream only.
"""

import argparse
import json
import logging
import random
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import psycopg2
from kafka import KafkaProducer
from kafka.errors import KafkaError

TOPIC = "gourmetgram.views"
VIEWS = 110
SPREAD_SECONDS = 240
# An hour between two `viral` requests of an image, counted from the events' times, which begin up to
# SPREAD_SECONDS before the request is made.
COOL_DOWN_SECONDS = 3600 + SPREAD_SECONDS
DELIVERY_SECONDS = 30

DOCKER_FOLDER = Path(__file__).resolve().parent.parent / "docker"

NO_IMAGES = "No images found in the database. Run the data generator first."

# Images out of cool-down first; among the others those that leave it soonest. Ties are broken at random.
CHOOSE_IMAGE = """
    SELECT i.id::text, max(m.created_at) IS NOT NULL AS in_cool_down
    FROM images i
    LEFT JOIN moderation m
        ON m.target_type = 'image' AND m.target_id = i.id AND m.trigger_type = 'viral'
        AND m.created_at > now() - make_interval(secs => %s)
    WHERE i.deleted_at IS NULL
    GROUP BY i.id
    ORDER BY max(m.created_at) NULLS FIRST, random()
    LIMIT 1
"""

log = logging.getLogger("simulate_viral")


class SimulationError(Exception):
    """The simulation cannot go on; the text says why and what to do."""


def database_url() -> str:
    """The lab's database, with the login of docker/.env, else of docker/.env.example."""
    login = {"POSTGRES_USER": "user", "POSTGRES_PASSWORD": "", "POSTGRES_DB": "gourmetgram"}
    for name in (".env.example", ".env"):
        login.update(read_assignments(DOCKER_FOLDER / name))
    user, password, database = (login[name] for name in ("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"))
    return psycopg2.extensions.make_dsn(
        host="localhost", port=5432, user=user, password=password or None, dbname=database
    )


def read_assignments(path: Path) -> dict[str, str]:
    """NAME=VALUE lines of a file, without quotes around the values; nothing when there is no such file."""
    if not path.exists():
        return {}
    pairs = (
        line.partition("=")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "=" in line and not line.lstrip().startswith("#")
    )
    return {name.strip(): value.strip().strip("'\"") for name, _equals, value in pairs}


def choose_image(dsn: str) -> str:
    """A random image that is not deleted, if possible one that is not in `viral` cool-down.

    Raises:
        SimulationError: there is none, or the database cannot be read.
    """
    try:
        connection = psycopg2.connect(dsn, connect_timeout=5)
    except psycopg2.Error as error:
        raise SimulationError(f"The database cannot be reached: {one_line(error)} (see --database-url)") from error
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(CHOOSE_IMAGE, (COOL_DOWN_SECONDS,))
            row = cursor.fetchone()
    except psycopg2.Error as error:
        raise SimulationError(f"The database cannot be read: {one_line(error)}") from error
    finally:
        connection.close()
    if row is None:
        raise SimulationError(NO_IMAGES)
    image_id, in_cool_down = row
    if in_cool_down:
        log.warning("Every image had a viral request within the last hour: this burst will raise no new one.")
    return str(image_id)


def one_line(error: Exception) -> str:
    """An error's text without line breaks."""
    return " ".join(str(error).split())


def view_events(image_id: str, now: float, rng: random.Random) -> list[dict[str, object]]:
    """The burst: views at random times of the last minutes, in their order."""
    times = sorted(now - rng.uniform(0, SPREAD_SECONDS) for _ in range(VIEWS))
    return [
        {"event_type": "view", "image_id": image_id, "user_id": f"sim-user-{number}", "timestamp": moment}
        for number, moment in enumerate(times)
    ]


def publish(bootstrap: str, image_id: str, events: Sequence[dict[str, object]]) -> None:
    """Send the events, keyed by image, and wait until the broker has confirmed each.

    Raises:
        SimulationError: the broker is away or did not confirm them all.
    """
    try:
        producer = KafkaProducer(
            bootstrap_servers=bootstrap.split(","), acks="all", bootstrap_timeout_ms=10_000, max_block_ms=10_000
        )
        try:
            sent = [producer.send(TOPIC, key=image_id.encode(), value=json.dumps(event).encode()) for event in events]
            producer.flush(timeout=DELIVERY_SECONDS)
            for future in sent:
                future.get(timeout=DELIVERY_SECONDS)
        finally:
            producer.close(timeout=5)
    except KafkaError as error:
        raise SimulationError(f"The views could not be published to {bootstrap}: {error} (see --bootstrap)") from error


def image_id_argument(text: str) -> str:
    """An image id as the platform writes it: hyphenated, lower case."""
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a UUID") from error


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Publish a burst of view events for one image.")
    parser.add_argument("image_id", nargs="?", type=image_id_argument, help="UUID; a random image when left out")
    parser.add_argument("--bootstrap", default="localhost:19092", help="Kafka server (default: %(default)s)")
    parser.add_argument(
        "--database-url",
        help="libpq URL (default: localhost:5432 with the login of docker/.env or docker/.env.example)",
    )
    return parser.parse_args(arguments)


def simulate(options: argparse.Namespace) -> None:
    """Choose the image, publish its burst, and say where to look."""
    image_id = options.image_id or choose_image(options.database_url or database_url())
    log.info("Simulating viral burst for image: %s", image_id)
    log.info("Publishing %d view events to '%s'...", VIEWS, TOPIC)
    publish(options.bootstrap, image_id, view_events(image_id, time.time(), random.Random()))
    log.info("Done. %d view events published.", VIEWS)
    log.info("")
    log.info("Now watch:")
    log.info("  docker logs -f stream-consumer")
    log.info("  docker logs -f risk-scoring-service")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    log.setLevel(logging.INFO)
    # Its own notes on lost connections would only hide the sentence below.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        simulate(options)
    except SimulationError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
