"""The stream consumer's rules once more, in the plainest way: one event after the other, lists and loops.

Tests compare the real one with it.
"""

from dataclasses import dataclass, field

from gourmetgram.events import Event

SECOND = 1_000_000
HOUR = 3600 * SECOND
WINDOWS = {"1min": 60 * SECOND, "5min": 300 * SECOND, "1hr": HOUR}
COUNTED = {"view": ("5min", "1hr"), "comment": ("1min", "5min", "1hr"), "flag": ("5min", "1hr")}
PLURAL = {"view": "views", "comment": "comments", "flag": "flags"}


@dataclass(frozen=True)
class Rule:
    trigger: str
    kind: str
    window: str
    threshold: int


@dataclass(frozen=True)
class RaisedAlert:
    image_id: str
    trigger: str
    event_id: str
    time_us: int
    count: int
    counts: tuple[tuple[str, int], ...]


@dataclass
class ReferenceConsumer:
    rules: list[Rule]
    milestones: tuple[int, ...] = (10, 100, 1000)
    seen: set[str] = field(default_factory=set)
    times: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    members: dict[tuple[str, str], list[tuple[int, str]]] = field(default_factory=dict)
    last_alert: dict[tuple[str, str], int] = field(default_factory=dict)
    alerts: list[RaisedAlert] = field(default_factory=list)
    reached: list[tuple[str, int, int]] = field(default_factory=list)

    def apply(self, event: Event) -> None:
        if not event.actor_eligible or event.event_id in self.seen:
            return
        self.seen.add(event.event_id)
        key = (event.image_id, event.kind)
        times = self.times.setdefault(key, [])
        times.append(event.time_us)
        self.members.setdefault(key, []).append((event.time_us, event.event_id))
        if event.kind == "view" and len(times) in self.milestones:
            self.reached.append((event.image_id, len(times), event.time_us))
        if event.broker_time_us - event.time_us > HOUR:
            return
        newest = max(times)
        for rule in self.rules:
            if rule.kind == event.kind:
                self._judge(rule, event, newest)

    def _judge(self, rule: Rule, event: Event, t: int) -> None:
        last = self.last_alert.get((event.image_id, rule.trigger))
        if last is not None and t < last + HOUR:
            return
        count = self.count(event.image_id, event.kind, rule.window, t)
        if count < rule.threshold:
            return
        self.last_alert[event.image_id, rule.trigger] = t
        counts = tuple(
            sorted(
                (f"{PLURAL[event.kind]}_{window}", self.count(event.image_id, event.kind, window, t))
                for window in COUNTED[event.kind]
            )
        )
        self.alerts.append(RaisedAlert(event.image_id, rule.trigger, event.event_id, t, count, counts))

    def count(self, image_id: str, kind: str, window: str, t: int) -> int:
        return sum(1 for time in self.times.get((image_id, kind), []) if t - WINDOWS[window] < time <= t)

    def in_last_hour(self, image_id: str, kind: str) -> set[tuple[int, str]]:
        """Time and id of the events of the hour up to the newest one."""
        members = self.members[image_id, kind]
        newest = max(time for time, _ in members)
        return {(time, event_id) for time, event_id in members if newest - HOUR < time}
