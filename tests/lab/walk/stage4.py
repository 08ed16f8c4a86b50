"""Stage 4: the real-time pipeline, and one image that goes viral."""

import json
import re
import time

from tests.lab import pages, stores
from tests.lab.book import notebook
from tests.lab.expectations import expect, until
from tests.lab.lab import Lab
from tests.lab.steps import LabStep, Stage, growing, listed, logged, shell, stop, up

_BOOK = notebook("4_realtime")
BURST = _BOOK.command("-e GENERATOR_BURST_FLAGS=2 data_generator")
"""Command that makes an image go viral."""
_STREAMING = _BOOK.command("redisinsight stream_consumer risk_scoring_service")
_STREAMING_SERVICES = [word for word in _STREAMING.compose.split() if word not in ("up", "-d")]
_DOCS = _BOOK.command("curl -s http://127.0.0.1:8000/docs")
_DECISIONS = _BOOK.query("moderation").replace("'IMAGE_ID'", "%s")
_ROWS_V1 = [("viral", 0.0, "SAFE", "heuristic"), ("flagged", 0.6, "REVIEW", "heuristic")]
_TOTALS = {"views": 110, "comments": 8, "flags": 2}


def _topics(lab: Lab) -> str:
    found = stores.topics()
    missing = [name for name in stores.TOPICS if found.get(name) != 4]
    expect(not missing, f"not there with four partitions: {missing}; there are {sorted(found)}")
    return f"the six topics, 4 partitions each: {', '.join(stores.TOPICS)}"


def _health_v2(lab: Lab) -> str:
    def probe() -> str:
        answer = pages.get("8000/health").json()
        expect(answer.get("kafka_enabled") is True and answer["status"] == "healthy", f"answered {answer}")
        return json.dumps(answer)

    return until(probe, 30)


def _docs(lab: Lab) -> str:
    page = shell(lab, _DOCS)
    expect("swagger-ui" in page, f"no docs page: {page[:300]}")
    return f"{len(page)} characters of HTML"


def _message_counts(lab: Lab) -> dict[str, int]:
    return {topic: len(stores.messages(topic)) for topic in stores.EVENT_TOPICS}


def _image_keys(lab: Lab) -> dict[str, int]:
    return {"image:*": len(list(stores.redis_client().scan_iter("image:*", count=1000)))}


def burst(lab: Lab) -> str:
    """Run the burst command, and note its image as `image`.

    Raises:
        NotSeenError: the command failed, names no image, or its decisions are late.
    """
    started = time.time()
    output = lab.do(BURST.compose, timeout=180)
    found = re.search(r"Simulating viral burst for image: ([0-9a-f-]{36})", output)
    expect(found, f"no image named: {output[-500:]}")
    image = found.group(1) if found else ""
    lab.notes["image"] = image
    expect("Burst plan: views=110, comments=8, flags=2" in output, f"no burst plan: {output[-500:]}")

    def probe() -> str:
        rows = stores.sql(lab, _DECISIONS, (image,))
        expect(len(rows) >= 2, f"rows so far: {rows}")
        return str(rows)

    until(probe, 5)
    return f"image {image}; request and rows after {time.time() - started:.1f} s in all"


def _views_of_burst(lab: Lab) -> str:
    image = lab.notes["image"]
    mine = [content for key, content in stores.messages("gourmetgram.views") if key == image]
    expect(len(mine) == 110, f"{len(mine)} view events of the image")
    expect(all(content["image_id"] == image for content in mine), "an event of another image under this key")
    return "110 view events with this key"


def _redis_tree(lab: Lab) -> str:
    client, image = stores.redis_client(), lab.notes["image"]
    seen = []
    for kind, total in _TOTALS.items():
        members = client.zrange(f"image:{image}:{kind}:1hr", 0, -1, withscores=True)
        expect(len(members) == total, f"{kind}:1hr has {len(members)} members, not {total}")
        member, score = members[-1]
        expect(re.fullmatch(rf"{kind[:-1]}:\d+\.\d{{6}}:[0-9a-f]{{8}}", member), f"a member is {member}")
        expect(abs(float(member.split(":")[1]) - score) < 1e-3, f"{member} has score {score}")
        ttl = client.ttl(f"image:{image}:{kind}:1hr")
        expect(0 < ttl <= 7200, f"{kind}:1hr lives {ttl} s")
        expect(client.type(f"image:{image}:total_{kind}") == "string", f"total_{kind} is no string")
        expect(client.get(f"image:{image}:total_{kind}") == str(total), f"total_{kind} is not {total}")
        seen.append(f"{kind}:1hr {len(members)} members ({member}), TTL {ttl} s, total_{kind} {total}")
    young = [client.zcard(f"image:{image}:views:{window}") for window in ("1min", "5min")]
    expect(young[1] == 110, f"views:5min has {young[1]} members")
    return "; ".join(seen) + f"; views:1min {young[0]}, views:5min {young[1]}"


def _requests(lab: Lab) -> str:
    image = lab.notes["image"]
    triggers = [content["trigger"] for key, content in stores.messages(stores.REQUESTS) if key == image]
    expect(triggers == ["viral", "flagged"], f"triggers {triggers}")
    return f"two messages: {', '.join(triggers)}"


def _consumer_lines(lab: Lab) -> str:
    id8 = lab.notes["image"][:8]
    pieces = (
        f"🔥 VIRAL CONTENT ALERT! Image {id8}... received 100 views in 5 minutes (threshold: 100)",
        f"🚩 FLAGGED CONTENT ALERT! Image {id8}... received 2 flags in 5 minutes (threshold: 2)",
        f"⭐ POPULAR POST! Image {id8}... received 50 views in 1 hour",
        f"🎯 MILESTONE REACHED! Image {id8}... hit 100 total views",
        f"Published moderation request for {id8}... (trigger: viral)",
    )
    return lab.wait_log("stream_consumer", pieces, 15)


def _scorer_lines(lab: Lab) -> str:
    image = lab.notes["image"]
    pieces = (
        f"Received moderation request for image {image} (trigger: viral)",
        f"[HEURISTIC] Image {image[:8]}... → probability=0.60, recommendation=REVIEW",
        f"Stored moderation decision for {image[:8]}...",
    )
    return lab.wait_log("risk_scoring_service", pieces, 15)


def _rows(lab: Lab) -> str:
    rows = stores.sql(lab, _DECISIONS, (lab.notes["image"],))
    rounded = [
        (trigger, round(float(score), 6), recommendation, mode) for _, mode, score, recommendation, trigger, *_ in rows
    ]
    expect(rounded == _ROWS_V1, f"rows {rounded}")
    return "; ".join(f"{trigger} {score} {recommendation}" for trigger, score, recommendation, _mode in rounded)


STAGE = Stage(
    "4",
    "4 Real-time pipeline",
    (
        stop(_BOOK.command("stop data_generator")),
        stop(_BOOK.command("stop api_v1")),
        up(_STREAMING, healthy=_STREAMING_SERVICES, done=["redpanda-init"]),
        listed(_BOOK.command("docker ps"), _STREAMING_SERVICES),
        LabStep(_DOCS.text, "HTML of the docs page", _docs, typed=(_DOCS,)),
        LabStep("topics, before any traffic", "six topics with four partitions", _topics),
        LabStep("GET /health in the docs page", '"kafka_enabled": true', _health_v2),
        up(_BOOK.command("up -d data_generator"), healthy=["data_generator"]),
        LabStep(
            "Console :8090 -> Topics (read from the broker)",
            "messages in .views, .comments, .flags, .uploads",
            growing(_message_counts, stores.EVENT_TOPICS, 150),
        ),
        LabStep("Redis Insight :8081 (read from Redis)", "keys image:*", growing(_image_keys, ("image:*",), 60)),
        logged(_BOOK.command("docker logs -f stream-consumer"), "stream_consumer", ("views", "1m", "total"), 90),
        LabStep(BURST.short, "names its image; within 5 s a request and a row", burst, typed=(BURST,)),
        logged(
            _BOOK.command("docker logs -f risk-scoring-service"), "risk_scoring_service", ("Stored moderation",), 15
        ),
        LabStep("Console: search IMAGE_ID in gourmetgram.views", "the burst's 110 view events", _views_of_burst),
        LabStep(
            "Redis Insight: image:IMAGE_ID*",
            "views, comments, flags with 1hr and the short sets; member, score, TTL; total_* of type string",
            _redis_tree,
        ),
        LabStep("Console: gourmetgram.moderation_requests", "viral, then flagged", _requests),
        LabStep("docker logs stream-consumer", "alerts, milestone, the request sent", _consumer_lines),
        LabStep("docker logs risk-scoring-service", "request line, decision line, stored line", _scorer_lines),
        LabStep("SQL: moderation rows of IMAGE_ID", "viral 0.0 SAFE, flagged 0.6 REVIEW", _rows),
    ),
)
