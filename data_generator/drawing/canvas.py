"""A small painter's kit over Pillow: shapes in a fixed coordinate system, shading, shadows, and a laid table.

Coordinates are `WIDTH` x `HEIGHT` units whatever the picture's size; angles are degrees, clockwise. Everything is
painted at twice the size and scaled down at the end, which smooths the edges.
"""

import math
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from PIL import Image, ImageDraw, ImageFilter

WIDTH: Final = 400
HEIGHT: Final = 300
_SUPERSAMPLING: Final = 2
_SHADING_STEPS: Final = 14
_GRAIN_CELL: Final = 3

Colour: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]

WHITE: Final[Colour] = (252, 251, 247)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour between two: `share` 0 is the first, 1 the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def darker(colour: Colour, share: float) -> Colour:
    """Mix with black; `share` 0 to 1."""
    return mix(colour, (20, 12, 8), share)


def lighter(colour: Colour, share: float) -> Colour:
    """Mix with white; `share` 0 to 1."""
    return mix(colour, (255, 255, 250), share)


class Canvas:
    """One picture while it is painted.

    Args:
        size: width and height of the finished picture in pixels, in the proportion 4:3.
        rng: decides everything that is left to chance.
    """

    def __init__(self, size: tuple[int, int], rng: random.Random) -> None:
        self.rng = rng
        self._size = size
        self._unit = size[0] * _SUPERSAMPLING / WIDTH
        self._image = Image.new("RGB", (size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING), WHITE)
        self._draw = ImageDraw.Draw(self._image)

    def finished(self) -> Image.Image:
        """The picture in its final size."""
        return self._image.resize(self._size, Image.Resampling.LANCZOS)

    def jitter(self, spread: float) -> float:
        """A random number between -spread and +spread."""
        return self.rng.uniform(-spread, spread)

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        """A filled shape."""
        self._draw.polygon(self._pixels(points), fill=fill)

    def ellipse(self, centre: Point, radii: Point, fill: Colour, angle: float = 0.0) -> None:
        """A filled ellipse, turned by `angle`."""
        self.polygon(ellipse_points(centre, radii, angle), fill)

    def ball(self, centre: Point, radii: Point, colour: Colour, angle: float = 0.0, gloss: float = 0.35) -> None:
        """An ellipse shaded as if lit from the upper left; `gloss` 0 is flat."""
        x, y = centre
        for step in range(_SHADING_STEPS):
            share = step / (_SHADING_STEPS - 1)
            shade = (
                lighter(colour, gloss * max(0.0, 2 * share - 1))
                if share > 0.5
                else darker(colour, gloss * (1 - 2 * share))
            )
            size = 1 - 0.82 * share
            shift = 0.25 * share
            self.ellipse((x - radii[0] * shift, y - radii[1] * shift), (radii[0] * size, radii[1] * size), shade, angle)

    def stroke(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """A line with round ends through all points."""
        pixels = self._pixels(points)
        thickness = max(1, round(width * self._unit))
        self._draw.line(pixels, fill=fill, width=thickness, joint="curve")
        radius = thickness / 2
        for x, y in (pixels[0], pixels[-1]):
            self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)

    def blob(self, centre: Point, radii: Point, fill: Colour, waves: int = 5, roughness: float = 0.1) -> None:
        """A rounded shape with an uneven edge."""
        phase = self.rng.uniform(0, math.tau)
        second = self.rng.uniform(0, math.tau)
        points = []
        for step in range(90):
            turn = math.tau * step / 90
            reach = (
                1 + roughness * math.sin(waves * turn + phase) + roughness / 2 * math.sin((waves + 2) * turn + second)
            )
            points.append(
                (centre[0] + radii[0] * reach * math.cos(turn), centre[1] + radii[1] * reach * math.sin(turn))
            )
        self.polygon(points, fill)

    def shadow(self, centre: Point, radii: Point, darkness: float = 0.5, blur: float = 7.0) -> None:
        """A soft dark ellipse, such as things leave on a table."""
        self._overlay(ellipse_points(centre, radii), (15, 10, 8), darkness, blur)

    def glow(self, points: Sequence[Point], opacity: float, blur: float) -> None:
        """A soft white shape: steam, a reflection."""
        self._overlay(points, (255, 255, 255), opacity, blur)

    def _overlay(self, points: Sequence[Point], colour: Colour, opacity: float, blur: float) -> None:
        pixels = self._pixels(points)
        sigma = blur * self._unit
        # Pillow blurs by three averages over a little more than two sigmas: nothing beyond three is touched.
        reach = math.ceil(3 * sigma) + 3
        box = (
            max(0, math.floor(min(x for x, _ in pixels)) - reach),
            max(0, math.floor(min(y for _, y in pixels)) - reach),
            min(self._image.width, math.ceil(max(x for x, _ in pixels)) + reach),
            min(self._image.height, math.ceil(max(y for _, y in pixels)) + reach),
        )
        mask = Image.new("L", (box[2] - box[0], box[3] - box[1]), 0)
        shape = [(x - box[0], y - box[1]) for x, y in pixels]
        ImageDraw.Draw(mask).polygon(shape, fill=round(255 * opacity))
        self._image.paste(colour, box, mask.filter(ImageFilter.GaussianBlur(sigma)))

    def table(self) -> None:
        """Fill the whole picture with a table top (planks, a checked cloth or stone) and light from above left."""
        style = self.rng.choice((self._planks, self._cloth, self._stone))
        style()
        self._grain()
        self.glow(ellipse_points((90, 40), (170, 110)), 0.22, 45)

    def plate(self, centre: Point, radii: Point, colour: Colour = WHITE) -> None:
        """A plate with rim and shadow."""
        x, y = centre
        self.shadow((x + 6, y + 10), (radii[0] * 1.02, radii[1] * 1.02))
        self.ellipse(centre, radii, darker(colour, 0.12))
        self.ellipse((x, y - 2), radii, colour)
        self.ellipse((x, y), (radii[0] * 0.76, radii[1] * 0.76), darker(colour, 0.1))
        self.ellipse((x, y + 1.5), (radii[0] * 0.74, radii[1] * 0.74), lighter(colour, 0.5))

    def bowl(self, centre: Point, radius: float, colour: Colour) -> Point:
        """A bowl seen from slightly above; returns the radii of the opening around `centre`."""
        x, y = centre
        opening = (radius, radius * 0.5)
        depth = radius * 0.68
        self.shadow((x + 8, y + depth), (radius * 0.95, radius * 0.3))
        self.ellipse((x, y + depth * 0.98), (radius * 0.45, radius * 0.14), darker(colour, 0.35))
        for step in range(24):
            share = step / 23
            # The side of the bowl: a quarter circle, painted from the foot up.
            height = depth * (1 - share)
            width = radius * math.sqrt(max(0.0, 1 - (1 - share) ** 2 * 0.75))
            self.ellipse((x, y + height), (width, opening[1] * width / radius), mix(darker(colour, 0.4), colour, share))
        self.ellipse(centre, (radius * 1.03, opening[1] * 1.05), lighter(colour, 0.55))
        self.ellipse((x, y + 1), (radius * 0.96, opening[1] * 0.95), darker(colour, 0.25))
        return radius * 0.95, opening[1] * 0.93

    def _planks(self) -> None:
        base: Colour = self.rng.choice(((164, 116, 73), (133, 88, 56), (190, 152, 106), (104, 72, 52)))
        top, height = 0.0, HEIGHT / self.rng.randint(4, 6)
        while top < HEIGHT:
            colour = mix(base, darker(base, 0.35), self.rng.random() * 0.6)
            self.polygon(((0, top), (WIDTH, top), (WIDTH, top + height), (0, top + height)), colour)
            for _ in range(14):
                y = top + self.rng.uniform(1, height - 1)
                self._wave(y, self.jitter(1.5), 0.8, mix(colour, darker(colour, 0.3), self.rng.random()))
            self.stroke(((0, top), (WIDTH, top)), 1.6, darker(base, 0.6))
            top += height

    def _wave(self, y: float, swing: float, width: float, colour: Colour) -> None:
        phase = self.rng.uniform(0, math.tau)
        self.stroke([(x, y + swing * math.sin(x / 45 + phase)) for x in range(-5, WIDTH + 6, 15)], width, colour)

    def _cloth(self) -> None:
        colour: Colour = self.rng.choice(((196, 62, 58), (70, 110, 168), (86, 142, 98), (214, 150, 62)))
        cell = HEIGHT / self.rng.choice((8, 10, 12))
        for row in range(math.ceil(HEIGHT / cell)):
            for column in range(math.ceil(WIDTH / cell)):
                strength = (row % 2 + column % 2) / 2
                left, top = column * cell, row * cell
                corners = ((left, top), (left + cell, top), (left + cell, top + cell), (left, top + cell))
                self.polygon(corners, mix((246, 242, 234), colour, strength * 0.85))

    def _stone(self) -> None:
        base: Colour = self.rng.choice(((86, 96, 104), (202, 196, 186), (60, 78, 84), (178, 160, 148)))
        for row in range(HEIGHT):
            self.stroke(((0, row), (WIDTH, row)), 1.5, mix(lighter(base, 0.1), darker(base, 0.25), row / HEIGHT))
        for _ in range(260):
            spot = (self.rng.uniform(0, WIDTH), self.rng.uniform(0, HEIGHT))
            size = self.rng.uniform(0.4, 1.6)
            tone = lighter(base, 0.25) if self.rng.random() < 0.5 else darker(base, 0.3)
            self.ellipse(spot, (size, size * 0.8), tone)

    def _grain(self) -> None:
        """The slight unevenness of every photograph."""
        width, height = self._image.size[0] // _GRAIN_CELL, self._image.size[1] // _GRAIN_CELL
        noise = Image.frombytes("L", (width, height), self.rng.randbytes(width * height)).resize(self._image.size)
        self._image.paste(Image.blend(self._image, noise.convert("RGB"), 0.045))

    def _pixels(self, points: Sequence[Point]) -> list[Point]:
        unit = self._unit
        return [(x * unit, y * unit) for x, y in points]


def ellipse_points(centre: Point, radii: Point, angle: float = 0.0, steps: int = 64) -> list[Point]:
    """The outline of an ellipse, turned by `angle`."""
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    along, across = (radii[0] * cosine, radii[0] * sine), (radii[1] * sine, radii[1] * cosine)
    return [
        (centre[0] + x * along[0] - y * across[0], centre[1] + x * along[1] + y * across[1])
        for x, y in _unit_circle(steps)
    ]


@lru_cache
def _unit_circle(steps: int) -> list[Point]:
    return [(math.cos(math.tau * step / steps), math.sin(math.tau * step / steps)) for step in range(steps)]


def turned(points: Sequence[Point], centre: Point, angle: float) -> list[Point]:
    """The points, turned around `centre` by `angle` and moved there (they are given around the origin)."""
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    return [(centre[0] + x * cosine - y * sine, centre[1] + x * sine + y * cosine) for x, y in points]
