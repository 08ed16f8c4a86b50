"""Display of a trace, at most 100 columns wide."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gourmetgram.features.definition import FEATURE_NAMES
from gourmetgram.redis_keys import KEYS_OF_IMAGE
from gourmetgram.windows import COUNT_NAMES
from gourmetgram_tools.cli.lineage_view import print_lineage
from gourmetgram_tools.inspection.event_trace import EventTrace
from gourmetgram_tools.inspection.kafka_records import RequestRecord
from gourmetgram_tools.inspection.lakehouse import LakeEvent, LakeImage, LakeWindow
from gourmetgram_tools.inspection.lineage import ModelLineage
from gourmetgram_tools.inspection.redis_state import RedisKey
from gourmetgram_tools.inspection.rows import DecisionRow
from gourmetgram_tools.inspection.timeline import MANY, Moment, distinct, milliseconds
from gourmetgram_tools.inspection.trace import Trace

_STORE_STYLES: Final = {"PostgreSQL": "cyan", "Kafka": "magenta", "Redis": "red", "MinIO": "yellow", "Iceberg": "blue"}
_VERDICT_STYLES: Final = {"SAFE": "green", "REVIEW": "yellow", "FLAG": "bold red"}
_FEATURE_COLUMNS: Final = 3


def print_trace(console: Console, trace: Trace) -> None:
    """Print all parts of a trace; parts without content are left out."""
    console.print(_head(trace))
    console.print(_timeline(trace))
    if trace.keys:
        console.print(_redis(trace.image_id, trace.keys))
    if trace.iceberg:
        print_lake_image(console, trace.iceberg)
    decided = {row.request_id: row for row in trace.rows.decisions}
    models = {model.model_version: model for model in trace.models}
    requested = [request for request in trace.records.requests if not request.copy]
    for request in requested:
        print_request(console, request, decided.get(request.request_id), models)
    known = {request.request_id for request in requested}
    for row in trace.rows.decisions:
        if row.request_id not in known:
            _print_decision(console, row, models)


def _head(trace: Trace) -> Panel:
    text = Text()
    image, user = trace.rows.image, trace.rows.uploader
    if image:
        text.append(f"{image.category or 'no category'} · {image.source} · views={image.views}")
        text.append(f" · {len(trace.rows.comments)} comments · {len(trace.rows.flags)} flags")
        text.append(f"\nuploaded {_clock(image.created_at, date=True)} by {user.username if user else image.user_id}")
        if image.caption:
            text.append(f"\n“{image.caption}”", style="italic")
    else:
        text.append("PostgreSQL has no row of this image.", style="yellow")
    if trace.picture:
        picture = trace.picture
        text.append(f"\nobject {picture.key} · {picture.size:,} bytes · {picture.content_type} · etag {picture.etag}")
    elif image:
        text.append("\nThe object store has no object of this image.", style="yellow")
    text.append(f"\nKafka partition {trace.records.partition} in every topic: {_event_counts(trace)}")
    repeated = sum(event.copy for event in trace.records.events)
    if repeated:
        text.append(f" ({repeated} delivered again)")
    return Panel(text, title=f"image {trace.image_id}", title_align="left", border_style="bold")


def _event_counts(trace: Trace) -> str:
    parts = [f"{len(distinct(trace.records, kind))} {kind}s" for kind in ("upload", "view", "comment", "flag")]
    return ", ".join([*parts, f"{len({r.request_id for r in trace.records.requests})} requests"])


def _timeline(trace: Trace) -> Table:
    image = trace.rows.image
    origin = image.created_at if image else (trace.timeline[0].at if trace.timeline else datetime.now(UTC))
    title = "Timeline (events: topic/partition@offset · delay until the broker had it)"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1), expand=True)
    table.add_column("time (UTC)", no_wrap=True)
    table.add_column("upload +", justify="right", no_wrap=True)
    table.add_column("store", no_wrap=True)
    table.add_column("what", max_width=30)
    table.add_column("detail", ratio=1, style="dim")
    for moment in trace.timeline:
        table.add_row(*_moment_cells(moment, origin))
    return table


def _moment_cells(moment: Moment, origin: datetime) -> tuple[Text, ...]:
    strong = moment.what.startswith(("request", "decision", "dead letter", "milestone", "popular"))
    return (
        Text(_clock(moment.at, date=moment.at.date() != origin.date())),
        Text(relative(moment.at - origin)),
        Text(moment.store, style=_STORE_STYLES.get(moment.store, "")),
        Text(moment.what, style="bold" if strong else ""),
        Text(moment.detail),
    )


def relative(delay: timedelta) -> str:
    """Time relative to the upload, in short form."""
    seconds = delay.total_seconds()
    sign, seconds = ("-" if seconds < 0 else "+"), abs(seconds)
    if seconds < 100:
        return f"{sign}{seconds:.3f} s"
    if seconds < 6000:
        return f"{sign}{seconds / 60:.1f} min"
    if seconds < 172_800:
        return f"{sign}{seconds / 3600:.1f} h"
    return f"{sign}{seconds / 86_400:.1f} days"


def _clock(at: datetime, *, date: bool = False) -> str:
    text = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f" if date else "%H:%M:%S.%f")
    return text[:-3]


def _redis(image_id: str, keys: Sequence[RedisKey]) -> Table:
    prefix = (KEYS_OF_IMAGE % image_id).removesuffix("*")
    table = Table(title=f"Redis: {prefix}", title_justify="left", box=None, padding=(0, 1), expand=True)
    table.add_column("key", no_wrap=True)
    table.add_column("type", no_wrap=True)
    table.add_column("length", justify="right", no_wrap=True)
    table.add_column("expires in", justify="right", no_wrap=True)
    table.add_column("content", ratio=1, style="dim", overflow="fold")
    for key in keys:
        name = key.key.removeprefix(prefix)
        left = "never" if key.ttl_s is None else _duration(key.ttl_s)
        table.add_row(Text(name), key.type, str(key.length), left, Text(_content(key)))
    return table


def _duration(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def _content(key: RedisKey) -> str:
    if isinstance(key.value, dict) and key.type == "zset":
        return f"newest {key.value['newest']}"
    if isinstance(key.value, dict):
        return ", ".join(f"{name}={value}" for name, value in key.value.items())
    return key.value or ""


def print_lake_image(console: Console, image: LakeImage) -> None:
    """Print an image's rows in the Iceberg tables."""
    console.print(_iceberg(image))


def _iceberg(image: LakeImage) -> Table:
    counts = ", ".join(f"{number} {kind}s" for kind, number in image.events.items()) or "no event yet"
    title = f"Iceberg: {counts} in {image.records} rows of event_aggregations.events"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1), expand=True, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    shown = image.windows if len(image.windows) <= MANY else [*image.windows[: MANY - 1], image.windows[-1]]
    for window in shown:
        eligible = "" if window.eligible_count == window.event_count else f", {window.eligible_count} eligible"
        table.add_row(f"{window.kind} window", f"{_window(window)}: {window.event_count} events{eligible}")
    if len(image.windows) > len(shown):
        table.add_row("", Text(f"({len(image.windows) - len(shown)} more windows before the last)", style="dim"))
    for row in image.training:
        label = "not known yet" if row.label_needs_moderation_24h is None else row.label_needs_moderation_24h
        flagged = "" if row.first_flagged_at is None else f" (first flagged {_clock(row.first_flagged_at, date=True)})"
        table.add_row(
            f"training row {row.decision_point_minutes} min",
            f"as of {_clock(row.anchor_time, date=True)}: label {label}{flagged}, views_5min={row.views_5min}, "
            f"comments_5min={row.comments_5min}, flags_5min={row.flags_5min}, total_flags={row.total_flags}",
        )
    return table


def _window(window: LakeWindow) -> str:
    return f"{window.window_start.astimezone(UTC):%Y-%m-%d %H:%M}-{window.window_end.astimezone(UTC):%H:%M}"


def print_request(
    console: Console,
    request: RequestRecord,
    decision: DecisionRow | None,
    models: Mapping[str, ModelLineage] = MappingProxyType({}),
) -> None:
    """Print a request with its counts, and its decision with the origin of its model.

    Args:
        console: gets the text.
        request: the request.
        decision: None = not decided yet.
        models: origin of models by version.
    """
    console.print(Text.assemble("\nRequest ", (request.trigger, "bold"), f"  {request.request_id}"))
    read_to = request.context.get("read_to")
    counts = "  ".join(f"{name}={request.context[name]}" for name in COUNT_NAMES if name in request.context)
    console.print(Text(f"  t = {_clock(request.time, date=True)}   {request.place}"), style="dim")
    console.print(Padding(Text(counts or "without counts"), (0, 0, 0, 2)))
    if isinstance(read_to, dict):
        places = ", ".join(f"{topic.rpartition('.')[2]}@{offset}" for topic, offset in read_to.items())
        console.print(Padding(Text(f"read to {places}", style="dim"), (0, 0, 0, 2)))
    if decision is None:
        console.print(Text("  no decision yet", style="yellow"))
    else:
        after = milliseconds(decision.created_at - request.time)
        _print_decision(console, decision, models, f", {after} after t")


def _print_decision(console: Console, row: DecisionRow, models: Mapping[str, ModelLineage], when: str = "") -> None:
    verdict = row.recommendation or "no recommendation"
    model = f", model version {row.model_version}" if row.model_version else ""
    by_hand = "" if row.request_id else " by hand"
    console.print(
        Text.assemble(
            f"  Decision{by_hand}: score ",
            (f"{row.risk_score:.2f}", "bold"),
            " ",
            (verdict, _VERDICT_STYLES.get(verdict, "")),
            f"  ({row.inference_mode}{model}, policy {row.policy_version}){when}",
        )
    )
    console.print(Padding(Text(f"because {row.rationale}" if row.rationale else "without a rationale"), (0, 0, 0, 2)))
    if row.model_version is not None and row.model_version in models:
        print_lineage(console, models[row.model_version])
    if row.features:
        console.print(_features(row.features))


def _features(features: dict[str, float]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    table.add_column(width=1)
    for _ in range(_FEATURE_COLUMNS):
        table.add_column(no_wrap=True)
    # JSONB keeps no order: the definition's order comes first, then other names.
    cells = [Text(f"{name}={value:g}", style="bold" if value else "dim") for name, value in _ordered(features)]
    rows = -(-len(cells) // _FEATURE_COLUMNS)
    for index in range(rows):
        table.add_row("", *cells[index::rows])
    return table


def _ordered(features: dict[str, float]) -> list[tuple[str, float]]:
    known = [(name, features[name]) for name in FEATURE_NAMES if name in features]
    return known + [item for item in features.items() if item[0] not in FEATURE_NAMES]


def print_event(console: Console, event: EventTrace) -> None:
    """Print the places of one event, store by store."""
    console.print(Panel(Text(f"{event.kind} of image {event.image_id}"), title=f"event {event.event_id}",
                        title_align="left", border_style="bold"))  # fmt: skip
    table = Table(box=None, padding=(0, 1), show_header=False, expand=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for store, text in _event_lines(event):
        table.add_row(Text(store, style=_STORE_STYLES.get(store, "bold")), Text(text))
    console.print(table)
    for request in event.triggered:
        decision = next((row for row in event.decisions if row.request_id == request.request_id), None)
        print_request(console, request, decision)


def _event_lines(event: EventTrace) -> list[tuple[str, str]]:
    lines = []
    if event.row:
        lines.append(("PostgreSQL", f"row {event.row.id}, written {_clock(event.row.created_at, date=True)}"))
    elif event.kind == "view":
        lines.append(("PostgreSQL", "a view has no row: it moved images.views"))
    lines.append(("Outbox", f"waits since {_clock(event.outbox.created_at, date=True)}" if event.outbox else "left"))
    for record in event.records:
        again = "  (delivered again)" if record.copy else ""
        eligible = "" if record.actor_eligible else ", actor not eligible: not counted"
        lines.append(("Kafka", f"{record.topic}/{record.partition}@{record.offset}{again}"))
        lines.append(("", f"event time {_clock(record.event_time, date=True)}, broker "
                          f"{milliseconds(record.broker_time - record.event_time)}{eligible}"))  # fmt: skip
    for window in event.windows:
        lines.append(("Redis", f"{window.key}: {window.member}, expires in {_duration(window.ttl_s)}"))
    if not event.windows and event.kind != "upload":
        lines.append(("Redis", "in no window (expired, or not counted)"))
    lines.extend(_iceberg_lines(event.iceberg))
    triggers = ", ".join(request.trigger for request in event.triggered) or "none"
    counted = ", ".join(f"{request.trigger} ({request.place})" for request in event.counted_in) or "none"
    return [*lines, ("Triggered", triggers), ("Counted in", counted)]


def _iceberg_lines(event: LakeEvent | None) -> list[tuple[str, str]]:
    if event is None:
        return []
    lines = [
        ("Iceberg", f"row of {record.topic}/{record.partition}@{record.offset}, "
                    f"ingested {_clock(record.ingested_at, date=True)}")
        for record in event.records
    ]  # fmt: skip
    if not lines:
        return [("Iceberg", "not aggregated yet")]
    if event.window:
        lines.append(("", f"counted in the window {_window(event.window)} ({event.window.event_count} events)"))
    return lines
