"""Requests in Redis: from the condition that was met to the confirmation of the broker."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import orjson

from gourmetgram.clients.redis_servers import RedisServers
from gourmetgram.kafka.partitions import Partition
from gourmetgram.moments import unix_text
from gourmetgram.redis_keys import ANCHORS, PENDING, score_us
from stream_consumer.pending import PendingRequest
from stream_consumer.store.connection import redis_errors
from stream_consumer.store.scripts import load_script

_DUE_ANCHORS_AT_ONCE: Final = 1000


class FrozenContext(NamedTuple):
    """Result of `freeze` for one request.

    Attributes:
        context: counts as of t; None while the partitions are not applied far enough.
        gone: True when the request is confirmed already.
    """

    context: dict[str, Any] | None
    gone: bool


class RequestStore:
    """Pending requests and planned anchors, by partition number.

    Args:
        servers: clients that do not decode answers.
        vocabulary: first argument of the scripts.
    """

    def __init__(self, servers: RedisServers, vocabulary: bytes) -> None:
        self._servers = servers
        self._vocabulary = vocabulary
        self._freeze = load_script(servers.clients[0], "freeze")

    def pending(self, numbers: Iterable[int]) -> list[PendingRequest]:
        """Requests that the broker has not confirmed.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        found = []
        with redis_errors():
            for number in numbers:
                client = self._servers.of_partition(number)
                values = cast(dict[bytes, bytes], client.hgetall(PENDING % number))
                found += [PendingRequest.from_json(value) for value in values.values()]
        return found

    def due_anchors(self, numbers: Sequence[int], now_us: int) -> list[PendingRequest]:
        """Anchors whose time has come: the oldest of each partition number, at most 1,000 each.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        due: list[PendingRequest] = []
        with redis_errors():
            for client, own in self._servers.by_server(numbers, lambda number: number):
                pipeline = client.pipeline(transaction=False)
                for number in own:
                    pipeline.zrangebyscore(
                        ANCHORS % number, "-inf", unix_text(now_us), start=0, num=_DUE_ANCHORS_AT_ONCE, withscores=True
                    )
                due += [
                    PendingRequest.anchor(identity.decode(), score_us(score), number)
                    for number, members in zip(own, pipeline.execute(), strict=True)
                    for identity, score in members
                ]
        return due

    def freeze(
        self, requests: Sequence[PendingRequest], topics: Mapping[int, Sequence[Partition]]
    ) -> list[FrozenContext]:
        """Fix the contexts of requests whose targets are reached.

        Args:
            requests: requests with targets.
            topics: per partition number, the co-partitions that `read_to` names.

        Raises:
            RedisUnavailableError: Redis did not answer; a context that was fixed stays so.
        """
        frozen: dict[str, FrozenContext] = {}
        with redis_errors():
            for client, own in self._servers.by_server(requests, _number):
                items = [_item(request, topics[request.partition]) for request in own]
                answers = cast(list[bytes], self._freeze(args=[self._vocabulary, orjson.dumps(items)], client=client))
                frozen.update((request.identity, _frozen(answer)) for request, answer in zip(own, answers, strict=True))
        return [frozen[request.identity] for request in requests]

    def confirm(self, requests: Iterable[PendingRequest]) -> None:
        """Delete requests that the broker has confirmed.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        with redis_errors():
            for client, own in self._servers.by_server(requests, _number):
                pipeline = client.pipeline(transaction=False)
                for request in own:
                    pipeline.hdel(PENDING % request.partition, request.identity)
                pipeline.execute()


def _number(request: PendingRequest) -> int:
    return request.partition


def _item(request: PendingRequest, topics: Sequence[Partition]) -> dict[str, Any]:
    item: dict[str, Any] = {
        "identity": request.identity,
        "partition": request.partition,
        "image": request.image_id,
        "time_us": str(request.time_us),
        "required": [[str(partition), offset] for partition, offset in (request.targets or {}).items()],
        "topics": [[partition.topic, str(partition)] for partition in topics],
    }
    if request.source is not None:
        item["source"] = [request.source.partition.topic, request.source.offset + 1]
    return item


def _frozen(answer: bytes) -> FrozenContext:
    if answer in (b"gone", b"wait"):
        return FrozenContext(None, gone=answer == b"gone")
    return FrozenContext(PendingRequest.from_json(answer).context, gone=False)
