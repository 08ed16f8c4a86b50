"""Timeline of one image: events, anchors, windows that look back, labels that look ahead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import matplotlib as mpl
import yaml
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from images.pictures import colours

_LEFT, _START, _BREAK, _DAY, _RIGHT = -20.0, -9.0, 36.0, 44.0, 46.0
"""Horizontal places in minutes: margin, begin of the axis, its break, the place of "24 h" behind the break, end."""
_BOTTOM, _TOP = -9.5, 3.7
_TEXT: Final = 11.5
"""Size of the letters in points; the picture is 720 points wide."""
_LETTER: Final = 0.55
"""Width of a letter in minutes of the axis, with some air."""


@dataclass(frozen=True)
class Story:
    """Times of one image, in minutes after its upload."""

    views: Sequence[float]
    comments: Sequence[float]
    flags: Sequence[float]
    anchors: Sequence[float]

    def counts(self, anchor: float, width: float) -> str:
        """Text of the events in `(anchor - width, anchor]`."""
        kinds = {"view": self.views, "comment": self.comments, "flag": self.flags}
        found = {kind: sum(anchor - width < time <= anchor for time in times) for kind, times in kinds.items()}
        return ", ".join(f"{n} {kind}{'s' * (n > 1)}" for kind, n in found.items() if n) or "nothing"

    def label(self, anchor: float) -> str:
        """Text of the label: whether a flag comes after the anchor."""
        later = [time for time in self.flags if time > anchor]
        return f"label 1: flag at {later[0]:g} min" if later else "label 0: no flag after t"


def draw(source: Path, fonts: Path, svg: Path) -> None:
    """Write the SVG file of a timeline.

    Args:
        source: YAML file with the times.
        fonts: folder with the font of the other pictures.
        svg: file to write.
    """
    for file in ("SourceSansPro-Regular.ttf", "SourceSansPro-Bold.ttf"):
        font_manager.fontManager.addfont(fonts / file)
    story = Story(**yaml.safe_load(source.read_text()))
    with mpl.rc_context({"font.family": "Source Sans Pro", "svg.hashsalt": "gourmetgram", "font.size": _TEXT}):
        figure = Figure(figsize=(10, 5.6))
        figure.patch.set_alpha(0)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(_LEFT, _RIGHT), ylim=(_BOTTOM, _TOP))
        axes.axis("off")
        _panel(axes)
        _events(axes, story, colours())
        for number, anchor in enumerate(story.anchors):
            _anchor(axes, story, anchor, -2.0 - 2.6 * number, colours())
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})


def _panel(axes: Axes) -> None:
    """Draw the white ground, which keeps the picture legible on a dark page."""
    corner, size = (_LEFT + 0.3, _BOTTOM + 0.3), (_RIGHT - _LEFT - 0.6, _TOP - _BOTTOM - 0.6)
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle="round,pad=0.3", fc="#ffffff", ec="none", zorder=0))


def _axis(axes: Axes, colour: Mapping[str, str]) -> None:
    axes.plot([_START, _BREAK], [0, 0], color=colour["ink"], lw=1.6)
    axes.annotate(
        "", (_DAY + 1.2, 0), (_BREAK + 1, 0), arrowprops={"arrowstyle": "-|>", "color": colour["ink"], "lw": 1.6}
    )
    for place in (_BREAK, _BREAK + 1):
        axes.plot([place - 0.3, place + 0.3], [-0.25, 0.25], color=colour["ink"], lw=1.6)
    for minute in (0, 5, 10, 20, 30):
        axes.plot([minute, minute], [-0.14, 0.14], color=colour["ink"], lw=1.2)
        axes.text(minute, -0.22, f"{minute}", ha="center", va="top", color=colour["ink"])
    axes.plot([_DAY, _DAY], [-0.14, 0.14], color=colour["ink"], lw=1.2)
    axes.text(_DAY, -0.22, "24 h", ha="center", va="top", color=colour["ink"])
    axes.text(_LEFT + 1, 0, "minutes after\nthe upload", va="center", color=colour["ink"])


def _events(axes: Axes, story: Story, colour: Mapping[str, str]) -> None:
    _axis(axes, colour)
    rows = (
        ("upload", [0.0], "D", 2.9),
        ("views", story.views, "|", 2.2),
        ("comment", story.comments, "o", 1.5),
        ("flag", story.flags, "^", 0.8),
    )
    for name, times, marker, height in rows:
        axes.text(_LEFT + 1, height, name, va="center", color=colour["ink"], weight="bold")
        axes.plot([_START, _BREAK], [height, height], color=colour["zone-line"], lw=0.6)
        axes.plot(times, [height] * len(times), marker, color=colour["ink"], ms=10, mew=2.2, ls="none")


def _anchor(axes: Axes, story: Story, anchor: float, top: float, colour: Mapping[str, str]) -> None:
    """Draw one decision point: its line, its two windows with their counts, its label."""
    for ends in ((0, 3.3), (top - 1.8, -0.75)):  # it leaves out the number below the axis
        axes.plot([anchor, anchor], ends, color=colour["line"], lw=1.1, ls=(0, (4, 3)), zorder=1)
    axes.text(_LEFT + 1, top + 0.35, f"t = {anchor:g} min" if anchor else "t = 0", color=colour["ink"], weight="bold")
    for name, width, height in (("(t-5min, t]", 5.0, top - 0.3), ("(t-1h, t]", 60.0, top - 1.2)):
        begin = max(anchor - width, _START)
        _bar(axes, (begin, anchor), (height - 0.35, height + 0.35), (colour["service-fill"], colour["service-line"]))
        if anchor - width < _START:
            axes.plot(_START - 0.5, height, "<", color=colour["service-line"], ms=8)
        axes.text(_LEFT + 1, height, name, va="center", color=colour["ink"])
        words = story.counts(anchor, width)
        fits = anchor - begin > len(words) * _LETTER
        place, side = ((begin + anchor) / 2, "center") if fits else (begin - 0.5, "right")
        axes.text(place, height, words, ha=side, va="center", color=colour["ink"])
    _bar(axes, (anchor, _DAY), (top - 1.55, top + 0.05), (colour["page-fill"], colour["page-line"]))
    words = f"(t, 24 h after the upload]\n{story.label(anchor)}"
    axes.text((anchor + _DAY) / 2, top - 0.75, words, ha="center", va="center", color=colour["ink"])


def _bar(axes: Axes, span: tuple[float, float], heights: tuple[float, float], tints: tuple[str, str]) -> None:
    (begin, end), (low, high), (fill, line) = span, heights, tints
    axes.add_patch(Rectangle((begin, low), end - begin, high - low, fc=fill, ec=line, lw=1.2, zorder=1.5))
