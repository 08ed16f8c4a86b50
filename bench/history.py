"""A platform at rest with a long history that agrees in all stores: rows, events, requests and decisions.

The stream consumer and the scorer would take hours to write it, so it is made by hand, a million events at a time.
All events are older than the keys in Redis live, so Redis is empty. The aggregation writes the lake afterwards.
"""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import orjson
import psycopg2
import pyarrow as pa
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from numpy.typing import NDArray

from bench.training_transform import copy_rows, uuids
from gourmetgram.events import ModerationRequest, request_uuid
from gourmetgram.features.definition import CATEGORIES, FeatureInputs, feature_dict, feature_vector
from gourmetgram.kafka.clients import client_config, create_consumer, create_producer
from gourmetgram.kafka.ranges import held_ranges
from gourmetgram.moments import HOUR_US, MINUTE_US, SECOND_US
from gourmetgram.windows import COUNTED_WINDOWS, MILESTONES, UPLOAD_TRIGGER, anchor_trigger
from gourmetgram_tools.inspection.kafka_reading import partition_of, reader
from gourmetgram_tools.inspection.platform import Platform

CHUNK: Final = 1_000_000
ANCHOR_MINUTES: Final = 60
RULES: Final = {
    "VIRAL_THRESHOLD_VIEWS_5MIN": "1000",
    "SUSPICIOUS_THRESHOLD_COMMENTS_1MIN": "1000",
    "FLAGGED_THRESHOLD_FLAGS_5MIN": "1000",
    "POPULAR_THRESHOLD_VIEWS_1HR": "10000",
    "TRIGGER_ON_UPLOAD": "true",
    "RESCORE_AT_MINUTES": str(ANCHOR_MINUTES),
}
"""Rules of the consumer: two requests an image, and thresholds that no image reaches."""

_KINDS: Final = ("view", "comment", "flag", "upload")
_IMAGES_PER_EVENT: Final = 0.02
_SHARES: Final = (0.85, 0.11, 0.04)
_STAR_SHARE: Final = 0.005
_OLDEST_DAYS, _NEWEST_DAYS = 25, 9
_DAY_US: Final = 24 * HOUR_US
_CAPTION: Final = "A dish"
_Integers = NDArray[np.int64]


class History:
    """Writes the history of one platform.

    Args:
        platform: its stores, fresh.
        events: number of events at the end, a multiple of a million.

    Attributes:
        star: id of the image with half a per cent of all events.
        requests: number of requests so far.
    """

    def __init__(self, platform: Platform, events: int) -> None:
        self._url, self._kafka = platform.postgres.database_url, platform.kafka
        self._groups = (platform.consumer_group, platform.scorer_group)
        self._random = np.random.default_rng(42)
        self._written, chunks = 0, events // CHUNK
        today = int((datetime.now(UTC) - timedelta(days=_OLDEST_DAYS)).timestamp()) * SECOND_US
        self._slices = np.linspace(today, today + (_OLDEST_DAYS - _NEWEST_DAYS) * _DAY_US, chunks + 1).astype(int)
        self._topics = dict(zip(("view", "comment", "upload", "flag"), platform.kafka.event_topics, strict=True))
        options = {"linger.ms": 50, "queue.buffering.max.messages": 200_000, "batch.num.messages": 20_000}
        self._producer: Producer = create_producer(platform.kafka, "bench", **options)
        self._star_views = 0
        self._star_user = ""
        self.star = ""
        self.requests = 0

    def write(self, events: int) -> None:
        """Write the history up to a number of events, and commit the groups' offsets."""
        if not self._written:
            self._accept_old_records()
        while self._written < events // CHUNK:
            start_us, end_us = self._slices[self._written : self._written + 2].tolist()
            self._write_chunk(start_us, end_us, first=not self._written)
            self._written += 1
            print(f"history: {self._written} million events", flush=True)
        self._write_star()
        for group in self._groups:
            consumer = create_consumer(self._kafka, "bench", group)
            ends = held_ranges(consumer, self._kafka.all_topics).items()
            consumer.commit(offsets=[TopicPartition(*place, span.end) for place, span in ends], asynchronous=False)
            consumer.close()

    def _accept_old_records(self) -> None:
        """Let producers set the time of their records: a history is older than the broker's clock."""
        settings = {"message.timestamp.type": "CreateTime", "segment.ms": "2592000000"}
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in settings.items()
        ]
        topics = [
            ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries) for topic in self._kafka.all_topics
        ]
        with AdminClient(client_config(self._kafka, "bench")) as admin:
            for future in admin.incremental_alter_configs(topics).values():
                future.result()

    def _write_chunk(self, start_us: int, end_us: int, first: bool) -> None:
        images = int(CHUNK * _IMAGES_PER_EVENT)
        random = self._random
        ids, users, event_ids = (uuids(random, count).to_pylist() for count in (images, images // 20, CHUNK))
        owner = random.integers(len(users), size=images)
        uploaded = np.sort(random.integers(start_us, end_us, size=images))
        weights = 1 / np.arange(1, images + 1) ** 0.7
        reactions = CHUNK - images
        image = random.choice(images, size=reactions, p=weights / weights.sum())
        kind = random.choice(3, size=reactions, p=_SHARES)
        time_us = uploaded[image] + 1 + random.exponential(3 * HOUR_US, size=reactions).astype(np.int64)
        of_star = random.random(reactions) < _STAR_SHARE
        of_star[0] = True
        if first:
            self.star, self._star_user = ids[0], users[owner[0]]
            star = 0
        else:
            # The star has no upload here: it stands behind the chunk's own images.
            star = images
            ids.append(self.star)
            users.append(self._star_user)
            owner = np.append(owner, len(users) - 1)
        image[of_star] = star
        time_us[of_star] = random.integers(max(start_us, int(uploaded[0]) + 1), end_us, size=int(of_star.sum()))
        images_of = np.concatenate([np.arange(images), image])
        kinds = np.concatenate([np.full(images, 3), kind])
        times = np.concatenate([uploaded, time_us])
        actors = np.concatenate([owner[:images], random.integers(images // 20, size=reactions)])
        self._publish_events(ids, users, event_ids, images_of, kinds, times, actors)
        views = np.bincount(image[kind == 0], minlength=len(ids))
        self._star_views += int(views[star])
        rows = _Rows(self._url, ids, users, event_ids, owner, uploaded, start_us)
        rows.write_images(images, views)
        rows.write_reactions(images_of, kinds, times, actors)
        rows.write_milestones(views[:images], skipped=star)
        self._decide(rows, images, images_of, kinds, times)

    def _publish_events(
        self,
        ids: list[str],
        users: list[str],
        event_ids: list[str],
        images: _Integers,
        kinds: _Integers,
        times: _Integers,
        actors: _Integers,
    ) -> None:
        order = np.argsort(times, kind="stable")
        moments = times.astype("datetime64[us]").astype(str)
        for n in order.tolist():
            kind, image_id, event_id = _KINDS[kinds[n]], ids[images[n]], event_ids[n]
            extra = f'"user_id":"{users[actors[n]]}"' if kinds[n] else ""
            if kind == "comment":
                extra += f',"comment_id":"{event_id}","content":"lovely tasty plate of food today"'
            elif kind == "flag":
                extra += f',"flag_id":"{event_id}","comment_id":null,"reason":"spam in comment"'
            elif kind == "upload":
                extra += f',"category":"{CATEGORIES[images[n] % len(CATEGORIES)]}","caption":"{_CAPTION}"'
            at = f'"{"created_at" if extra else "viewed_at"}":"{moments[n]}+00:00"'
            value = (
                f'{{"event_type":"{kind}","event_id":"{event_id}","image_id":"{image_id}",{at},"actor_eligible":true'
                f"{',' if extra else ''}{extra}}}"
            )
            self._produce(self._topics[kind], image_id, value.encode(), int(times[n]))
        assert self._producer.flush(120) == 0

    def _produce(self, topic: str, image_id: str, value: bytes, time_us: int) -> None:
        while True:
            try:
                self._producer.produce(topic, value, image_id, timestamp=time_us // 1000)
                break
            except BufferError:
                self._producer.poll(0.1)

    def _decide(self, rows: "_Rows", images: int, image: _Integers, kinds: _Integers, times: _Integers) -> None:
        """Score each image at its upload and at its anchor, with the counts of all events so far."""
        with reader(self._kafka) as consumer:
            ends = held_ranges(consumer, self._kafka.event_topics)
        partitions = len(ends) // len(self._topics)
        own = (image < images) & (kinds < 3)
        image, kinds, times = image[own], kinds[own], times[own]
        moment = rows.uploaded + ANCHOR_MINUTES * MINUTE_US
        age = moment[image] - times
        at_anchor = {
            name: np.bincount(
                image[(age >= 0) & (age < of.width_us) & (kinds == _KINDS.index(of.kind))], minlength=images
            )
            for name, of in COUNTED_WINDOWS.items()
        }
        none = dict.fromkeys(COUNTED_WINDOWS, np.zeros(images, dtype=np.int64))
        total_flags = at_anchor["flags_1hr"]  # the anchor is an hour after the upload
        decided = []
        for trigger, at, counts, flags in (
            (UPLOAD_TRIGGER, rows.uploaded, none, none["flags_1hr"]),
            (anchor_trigger(ANCHOR_MINUTES), moment, at_anchor, total_flags),
        ):
            owned = rows.images_of_owner_until(at, images)
            for n in range(images):
                place = partition_of(rows.ids[n], partitions)
                numbers = {name: int(values[n]) for name, values in counts.items()}
                inputs = FeatureInputs(
                    upload_us=int(rows.uploaded[n]),
                    time_us=int(at[n]),
                    **{name: number for name, number in numbers.items() if name in FeatureInputs._fields},
                    total_flags=int(flags[n]),
                    caption_length=len(_CAPTION),
                    user_image_count=int(owned[n]),
                    user_created_us=rows.registered_us,
                    category=CATEGORIES[n % len(CATEGORIES)],
                )
                cause = rows.event_ids[n] if trigger == UPLOAD_TRIGGER else None
                request_id = request_uuid(rows.ids[n], trigger, cause)
                read_to = {topic: span.end for (topic, number), span in ends.items() if number == place}
                request = ModerationRequest(
                    request_id, rows.ids[n], trigger, int(at[n]), {**numbers, "read_to": read_to}
                )
                self._produce(self._kafka.moderation_topic, rows.ids[n], request.to_json(), int(at[n]))
                features = orjson.dumps(feature_dict(feature_vector(inputs))).decode()
                decided.append((request_id, rows.ids[n], trigger, int(at[n]), features))
        assert self._producer.flush(120) == 0
        self.requests += len(decided)
        rows.write_decisions(decided)

    def _write_star(self) -> None:
        """Give the star its number of views, and its milestones."""
        reached = [(self.star, "views", milestone) for milestone in MILESTONES if self._star_views >= milestone]
        with closing(psycopg2.connect(self._url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("UPDATE images SET views = %s WHERE id = %s", (self._star_views, self.star))
            cursor.execute("DELETE FROM image_milestones WHERE image_id = %s", (self.star,))
            cursor.executemany(
                "INSERT INTO image_milestones (image_id, milestone_type, milestone_value) VALUES (%s, %s, %s)", reached
            )


class _Rows:
    """Rows of one chunk in PostgreSQL; indices are those of the chunk's lists."""

    def __init__(
        self,
        url: str,
        ids: list[str],
        users: list[str],
        event_ids: list[str],
        owner: _Integers,
        uploaded: _Integers,
        start_us: int,
    ) -> None:
        self.url, self.ids, self.users, self.event_ids = url, ids, users, event_ids
        self.owner, self.uploaded = owner, uploaded
        self.registered_us = start_us - _DAY_US

    def write_images(self, images: int, views: _Integers) -> None:
        """Write the users and the images, with their views."""
        users = self.users[: images // 20]
        names = [f"user-{user}" for user in users]
        registered = _times(np.full(len(users), self.registered_us))
        copy_rows(self.url, "users", {"id": pa.array(users), "username": pa.array(names), "created_at": registered})
        columns = {
            "id": pa.array(self.ids[:images]),
            "user_id": pa.array(self.users).take(pa.array(self.owner[:images])),
            "s3_url": pa.repeat("s3://bench/picture.jpg", images),
            "source": pa.repeat("user_upload", images),
            "caption": pa.repeat(_CAPTION, images),
            "category": pa.array(CATEGORIES).take(pa.array(np.arange(images) % len(CATEGORIES))),
            "created_at": _times(self.uploaded),
            "views": pa.array(views[:images]),
        }
        copy_rows(self.url, "images", columns)

    def write_reactions(self, image: _Integers, kinds: _Integers, times: _Integers, actors: _Integers) -> None:
        """Write the comments and the flags."""
        for number, table, text in ((1, "comments", "content"), (2, "flags", "reason")):
            chosen = np.flatnonzero(kinds == number)
            columns = {
                "id": pa.array(self.event_ids).take(pa.array(chosen)),
                "image_id": pa.array(self.ids).take(pa.array(image[chosen])),
                "user_id": pa.array(self.users).take(pa.array(actors[chosen])),
                text: pa.repeat("text", len(chosen)),
                "created_at": _times(times[chosen]),
            }
            copy_rows(self.url, table, columns)

    def write_milestones(self, views: _Integers, skipped: int) -> None:
        """Write the milestones of all images but one."""
        for milestone in MILESTONES:
            reached = [self.ids[n] for n in np.flatnonzero(views >= milestone) if n != skipped]
            columns = {
                "image_id": pa.array(reached, pa.string()),
                "milestone_type": pa.repeat("views", len(reached)),
                "milestone_value": pa.repeat(milestone, len(reached)),
            }
            copy_rows(self.url, "image_milestones", columns)

    def write_decisions(self, decided: list[tuple[str, str, str, int, str]]) -> None:
        """Write decisions of request id, image id, trigger, time and features."""
        requests, images, triggers, times, features = zip(*decided, strict=True)
        columns = {
            "inference_request_id": pa.array(requests),
            "target_type": pa.repeat("image", len(decided)),
            "target_id": pa.array(images),
            "inference_mode": pa.repeat("heuristic", len(decided)),
            "risk_score": pa.repeat(0.1, len(decided)),
            "trigger_type": pa.array(triggers),
            "features": pa.array(features),
            "created_at": _times(np.array(times)),
        }
        copy_rows(self.url, "moderation", columns)

    def images_of_owner_until(self, moments: _Integers, images: int) -> _Integers:
        """Number of each image's uploader's images at the image's moment."""
        owner = self.owner[:images]
        keys = owner.astype(object) * 2**62 + self.uploaded
        ordered = np.sort(keys)
        firsts = np.searchsorted(ordered, owner.astype(object) * 2**62)
        found: _Integers = np.searchsorted(ordered, owner.astype(object) * 2**62 + moments, side="right") - firsts
        return found


def _times(times_us: _Integers) -> pa.Array:
    return pa.array(times_us).cast(pa.timestamp("us", "UTC"))
