"""The Lua scripts, and the vocabulary that is the first argument of each call."""

from pathlib import Path
from typing import Any, Final

import orjson
from redis import Redis
from redis.commands.core import Script

from gourmetgram import redis_keys
from gourmetgram.moments import HOUR_US, MINUTE_US, SECOND_US
from gourmetgram.windows import (
    ALERT_TTL_S,
    COOL_DOWN_US,
    COUNTED_KINDS,
    COUNTED_WINDOWS,
    IDLE_TTL_S,
    LONGEST_WINDOW,
    MILESTONES,
    ONCE_TTL_S,
    UPLOAD_TRIGGER,
    WINDOW_TTL_S,
    WINDOW_US,
    TriggerSettings,
    WindowName,
    anchor_trigger,
)

_FOLDER: Final = Path(__file__).parent
_HOUR_S: Final = HOUR_US // SECOND_US

_KEYS: Final = {
    "window": redis_keys.IMAGE_WINDOW,
    "total": redis_keys.IMAGE_TOTAL,
    "alert": redis_keys.IMAGE_ALERT,
    "metadata": redis_keys.IMAGE_METADATA,
    "offsets": redis_keys.OFFSETS,
    "last_records": redis_keys.LAST_RECORDS,
    "seen": redis_keys.SEEN,
    "pending": redis_keys.PENDING,
    "anchors": redis_keys.ANCHORS,
    "waiting": redis_keys.WAITING,
    "milestones": redis_keys.MILESTONES,
}


def load_script(client: Redis, *names: str) -> Script:
    """Register `common.lua` and each `<name>.lua` as one script. Its first argument is the result of `vocabulary`."""
    return client.register_script("".join((_FOLDER / f"{name}.lua").read_text() for name in ("common", *names)))


def vocabulary(settings: TriggerSettings, dedup_hours: int) -> bytes:
    """Names, windows, conditions and TTLs as JSON, the first argument of every script.

    Args:
        settings: thresholds and switches.
        dedup_hours: hours for which the id of an event is remembered.
    """
    return orjson.dumps(
        {
            "keys": _KEYS,
            "kinds": list(COUNTED_KINDS.values()),
            "counts": _counts(),
            "longest_window": _window(LONGEST_WINDOW),
            "short_windows": [_window(name) for name in WINDOW_US if name != LONGEST_WINDOW],
            "conditions": _conditions(settings),
            "milestones": {COUNTED_KINDS["view"]: MILESTONES},
            "upload_triggers": [UPLOAD_TRIGGER] if settings.trigger_on_upload else [],
            "anchors": [
                {"trigger": anchor_trigger(minutes), "after_us": minutes * MINUTE_US}
                for minutes in sorted(set(settings.rescore_at_minutes))
            ],
            "cool_down_us": COOL_DOWN_US,
            "seen_ttl_s": dedup_hours * _HOUR_S,
            "alert_ttl_s": ALERT_TTL_S,
            "once_ttl_s": ONCE_TTL_S,
            "idle_ttl_s": IDLE_TTL_S,
        }
    )


def _window(name: WindowName) -> dict[str, Any]:
    return {"name": name, "width_us": WINDOW_US[name], "ttl_s": WINDOW_TTL_S[name]}


def _counts() -> dict[str, list[dict[str, Any]]]:
    """Names and widths of the counts, by the plural of their kind."""
    counts: dict[str, list[dict[str, Any]]] = {plural: [] for plural in COUNTED_KINDS.values()}
    for name, counted in COUNTED_WINDOWS.items():
        counts[COUNTED_KINDS[counted.kind]].append({"name": name, "width_us": counted.width_us})
    return counts


def _conditions(settings: TriggerSettings) -> dict[str, list[dict[str, Any]]]:
    """Conditions on windows, by the plural of their kind."""
    conditions: dict[str, list[dict[str, Any]]] = {plural: [] for plural in COUNTED_KINDS.values()}
    for trigger in settings.window_triggers():
        counted = COUNTED_WINDOWS[trigger.count_name]
        conditions[COUNTED_KINDS[counted.kind]].append(
            {
                "trigger": trigger.name,
                "window_us": counted.width_us,
                "threshold": trigger.threshold,
                "request": trigger.sends_request,
            }
        )
    return conditions
