"""One function per food category: paints a dish onto a laid table. Positions and colours vary with the canvas's rng."""

import math
from collections.abc import Callable
from typing import Final

from data_generator.drawing.canvas import (
    WHITE,
    Canvas,
    Colour,
    Point,
    darker,
    ellipse_points,
    lighter,
    mix,
    turned,
)

_GREEN: Final[Colour] = (84, 140, 62)
_RED: Final[Colour] = (200, 46, 38)
_CRUST: Final[Colour] = (186, 118, 52)


def bread(canvas: Canvas) -> None:
    """A loaf with cuts, on a board, and slices in front of it."""
    board = (206, 162, 108)
    canvas.shadow((206, 168), (165, 92))
    canvas.ellipse((200, 160), (165, 92), darker(board, 0.25))
    canvas.ellipse((200, 156), (165, 92), board)
    crust = mix(_CRUST, (146, 84, 38), canvas.rng.random())
    angle = canvas.jitter(14)
    centre = (200 + canvas.jitter(10), 130 + canvas.jitter(6))
    canvas.shadow((centre[0] + 5, centre[1] + 24), (118, 44), 0.6)
    canvas.ball(centre, (116, 52), crust, angle, gloss=0.45)
    for cut in range(-2, 3):
        slash = ellipse_points((cut * 38.0, -8.0), (6.5, 29), 24, 24)
        canvas.polygon(turned(slash, centre, angle), (240, 208, 150))
        inner = ellipse_points((cut * 38.0 + 2.5, -7.0), (3, 24), 24, 24)
        canvas.polygon(turned(inner, centre, angle), (222, 178, 110))
    for _ in range(90):
        spot = (centre[0] + canvas.jitter(80), centre[1] - 16 + canvas.jitter(20))
        canvas.ellipse(spot, (0.9, 0.7), (250, 240, 220))
    for index in range(canvas.rng.randint(1, 3)):
        _slice_of_bread(canvas, (120 + index * 72 + canvas.jitter(8), 212 + canvas.jitter(6)), crust)


def _slice_of_bread(canvas: Canvas, centre: Point, crust: Colour) -> None:
    x, y = centre
    canvas.shadow((x + 4, y + 8), (36, 24), 0.5, 4)
    for shrink, colour in ((1.0, crust), (0.86, (244, 222, 174))):
        canvas.ellipse((x - 11, y - 8), (23 * shrink, 19 * shrink), colour)
        canvas.ellipse((x + 11, y - 8), (23 * shrink, 19 * shrink), colour)
        canvas.ellipse((x, y + 6), (29 * shrink, 20 * shrink), colour)
    for _ in range(26):
        canvas.ellipse((x + canvas.jitter(20), y + canvas.jitter(14)), (1.3, 1.0), (226, 196, 140))


def dairy_product(canvas: Canvas) -> None:
    """A glass of milk and a wedge of cheese."""
    canvas.plate((244, 190), (122, 66), (222, 232, 240))
    _cheese(canvas, (250 + canvas.jitter(8), 172 + canvas.jitter(5)))
    _glass_of_milk(canvas, (96 + canvas.jitter(14), 72 + canvas.jitter(6)))
    for _ in range(canvas.rng.randint(2, 4)):
        cube = (236 + canvas.jitter(50), 226 + canvas.jitter(6))
        canvas.shadow((cube[0] + 2, cube[1] + 8), (12, 5), 0.4, 3)
        corners = ((-10.0, -7.0), (8.0, -9.0), (11.0, 5.0), (-7.0, 8.0))
        canvas.polygon(turned(corners, cube, canvas.jitter(20)), (250, 244, 226))


def _cheese(canvas: Canvas, centre: Point) -> None:
    x, y = centre
    rind = canvas.rng.choice(((246, 196, 70), (250, 214, 106), (240, 168, 58)))
    canvas.shadow((x + 6, y + 36), (86, 22), 0.5, 6)
    top = ((x - 86, y - 6), (x + 70, y - 46), (x + 82, y - 12))
    side = ((x - 86, y - 6), (x + 82, y - 12), (x + 82, y + 30), (x - 86, y + 38))
    canvas.polygon(side, rind)
    canvas.polygon(top, lighter(rind, 0.45))
    for _ in range(11):
        spot = (x + canvas.rng.uniform(-72, 70), y + canvas.rng.uniform(2, 26))
        size = canvas.rng.uniform(3.5, 8)
        canvas.ellipse(spot, (size, size * 0.8), darker(rind, 0.28))
        canvas.ellipse((spot[0] + 1.2, spot[1] + 1.4), (size * 0.8, size * 0.6), darker(rind, 0.14))


def _glass_of_milk(canvas: Canvas, centre: Point) -> None:
    x, y = centre
    level = canvas.rng.uniform(14, 34)
    canvas.shadow((x + 10, y + 152), (46, 14), 0.5, 6)
    canvas.polygon(((x - 44, y), (x + 44, y), (x + 36, y + 150), (x - 36, y + 150)), (206, 222, 230))
    canvas.ellipse((x, y + 150), (36, 11), (190, 208, 218))
    for step in range(40):
        share = step / 39
        row = y + 146 - share * (146 - level)
        reach = 34 + 6.5 * share
        canvas.ellipse((x, row), (reach, 10.5), mix((228, 226, 218), (253, 251, 245), share))
    canvas.ellipse((x, y + level), (41, 11), WHITE)
    canvas.glow(((x - 32, y + 30), (x - 22, y + 30), (x - 18, y + 130), (x - 26, y + 130)), 0.8, 2.5)
    for turn in range(0, 360, 6):
        rim = (x + 44 * math.cos(math.radians(turn)), y + 11 * math.sin(math.radians(turn)))
        canvas.ellipse(rim, (1.6, 1.2), (232, 242, 248))


def dessert(canvas: Canvas) -> None:
    """Cupcakes with a swirl of frosting, sprinkles and a cherry."""
    canvas.plate((200, 214), (168, 66), (248, 232, 236))
    count = canvas.rng.randint(1, 3)
    for index in range(count):
        x = 200 + (index - (count - 1) / 2) * 104 + canvas.jitter(5)
        _cupcake(canvas, (x, 196 + canvas.jitter(5)))


def _cupcake(canvas: Canvas, centre: Point) -> None:
    x, y = centre
    wrapper = canvas.rng.choice(((222, 96, 132), (96, 158, 190), (146, 106, 176), (240, 178, 76)))
    frosting = canvas.rng.choice(((250, 214, 224), (255, 244, 222), (186, 226, 208), (112, 68, 48)))
    canvas.shadow((x + 6, y + 34), (42, 13), 0.5, 5)
    canvas.polygon(((x - 46, y - 22), (x + 46, y - 22), (x + 33, y + 36), (x - 33, y + 36)), wrapper)
    canvas.ellipse((x, y + 36), (33, 8), wrapper)
    for fold in range(-4, 5):
        foot, top = x + fold * 7.6, x + fold * 10.6
        canvas.stroke(
            ((top, y - 20), (foot, y + 40)), 2.2, darker(wrapper, 0.22) if fold % 2 else lighter(wrapper, 0.3)
        )
    for tier, (height, reach) in enumerate(((-26, 52), (-46, 43), (-64, 31), (-80, 17))):
        canvas.ball(
            (x + (2 if tier % 2 else -2), y + height), (reach, 17 - 1.5 * tier), frosting, canvas.jitter(5), 0.22
        )
    for _ in range(26):
        rise = canvas.rng.uniform(22, 80)
        spot = (x + canvas.jitter(44 * (1 - (rise - 22) / 90)), y - rise)
        colour = canvas.rng.choice((_RED, (250, 206, 60), (80, 160, 220), (110, 190, 90), WHITE))
        turn = canvas.rng.uniform(0, 180)
        canvas.stroke(turned(((-2.6, 0.0), (2.6, 0.0)), spot, turn), 2, colour)
    canvas.ball((x, y - 95), (11, 11), _RED, gloss=0.5)
    canvas.stroke(((x, y - 104), (x + 4, y - 114), (x + 13, y - 121)), 1.8, (96, 66, 40))


def egg(canvas: Canvas) -> None:
    """Fried eggs in a pan."""
    iron = canvas.rng.choice(((58, 60, 64), (74, 62, 56), (48, 56, 66)))
    canvas.shadow((186, 168), (150, 112))
    canvas.stroke(((300, 148), (392, 116 + canvas.jitter(16))), 24, darker(iron, 0.4))
    canvas.ellipse((180, 155), (148, 114), darker(iron, 0.35))
    canvas.ellipse((180, 152), (140, 106), lighter(iron, 0.1))
    canvas.ellipse((180, 155), (132, 99), iron)
    count = canvas.rng.randint(1, 3)
    places: tuple[Point, ...] = ((176, 150),) if count == 1 else ((126, 136), (228, 154), (164, 206))
    for x, y in places[:count]:
        size = 1.5 if count == 1 else 1.0
        centre = (x + canvas.jitter(6), y + canvas.jitter(5))
        canvas.blob((centre[0] + 2, centre[1] + 3), (55 * size, 41 * size), (206, 172, 116), roughness=0.09)
        canvas.blob(centre, (52 * size, 39 * size), (252, 250, 240), waves=6, roughness=0.07)
        yolk = mix((252, 190, 30), (244, 146, 22), canvas.rng.random())
        canvas.ellipse((centre[0] + 2, centre[1] + 2), (23 * size, 20 * size), (234, 222, 196))
        canvas.ball(centre, (22 * size, 19 * size), yolk, gloss=0.3)
        canvas.glow(ellipse_points((centre[0] - 8 * size, centre[1] - 8 * size), (5, 3.5), -30), 0.9, 1)
        for _ in range(16):
            canvas.ellipse((centre[0] + canvas.jitter(38), centre[1] + canvas.jitter(28)), (1.1, 1.0), (52, 46, 40))
    _herbs(canvas, (180, 150), (105, 75), 22)


def _herbs(canvas: Canvas, centre: Point, reach: Point, count: int) -> None:
    for _ in range(count):
        spot = (centre[0] + canvas.jitter(reach[0]), centre[1] + canvas.jitter(reach[1]))
        shade = mix(_GREEN, (130, 180, 80), canvas.rng.random())
        canvas.ellipse(spot, (3.2, 1.4), shade, canvas.rng.uniform(0, 180))


def fried_food(canvas: Canvas) -> None:
    """French fries in a paper box, with a dip."""
    paper = canvas.rng.choice((_RED, (36, 92, 150), (238, 238, 230), (52, 52, 56)))
    canvas.shadow((182, 272), (110, 16), 0.55, 8)
    fries = canvas.rng.randint(26, 36)
    for index in range(fries):
        x = 100 + index * 160 / fries
        lean = (x - 180) / 5 + canvas.jitter(9)
        length = canvas.rng.uniform(72, 118) - abs(x - 180) * 0.25
        colour = mix((250, 208, 96), (216, 150, 50), canvas.rng.random())
        outline = ((-6.5, -length), (6.5, -length), (6.5, 30.0), (-6.5, 30.0))
        canvas.polygon(turned(outline, (x + 2.5, 172), lean), darker(colour, 0.3))
        canvas.polygon(turned(outline, (x, 170), lean), colour)
        end = ((-6.5, -length), (6.5, -length), (4.5, -length + 7), (-4.5, -length + 7))
        canvas.polygon(turned(end, (x, 170), lean), lighter(colour, 0.4))
    front = ellipse_points((180, 148), (92, 26), steps=48)
    lower = [point for point in front if point[1] >= 148]
    canvas.polygon([*sorted(lower), (258, 274), (102, 274)], paper)
    for stripe in range(-3, 4):
        x = 180 + stripe * 25.0
        canvas.polygon(
            ((x - 4, 192), (x + 4, 192), (x + 3 - stripe * 2, 272), (x - 3 - stripe * 2, 272)), lighter(paper, 0.3)
        )
    canvas.glow(((112, 180), (124, 184), (122, 264), (114, 264)), 0.35, 4)
    canvas.shadow((334, 254), (46, 18), 0.5, 5)
    dip = canvas.bowl((330, 216), 46, (238, 236, 230))
    canvas.ellipse((330, 218), dip, canvas.rng.choice(((196, 40, 30), (250, 240, 200), (226, 168, 40))))


def meat(canvas: Canvas) -> None:
    """A grilled steak with its rim of fat, marks of the grill and a sprig."""
    canvas.plate((200, 156), (176, 122), canvas.rng.choice((WHITE, (226, 222, 210), (76, 82, 90))))
    seared = mix((122, 62, 40), (92, 44, 30), canvas.rng.random())
    angle = canvas.jitter(20)
    centre = (192 + canvas.jitter(8), 150 + canvas.jitter(6))
    canvas.shadow((centre[0] + 6, centre[1] + 10), (104, 68), 0.6, 5)
    outline = [
        (x * (1 + 0.14 * math.sin(math.radians(2 * turn + 40))), y * (1 + 0.1 * math.sin(math.radians(3 * turn))))
        for turn, (x, y) in zip(range(0, 360, 5), ellipse_points((0, 0), (98, 64), steps=72), strict=True)
    ]
    for size, colour in ((1.05, (232, 204, 164)), (0.97, darker(seared, 0.25)), (0.92, seared)):
        canvas.polygon(turned([(x * size, y * size) for x, y in outline], centre, angle), colour)
    canvas.glow(ellipse_points((centre[0] - 24, centre[1] - 22), (48, 18), angle - 12), 0.2, 8)
    for mark in range(-3, 4):
        reach = 56 * math.sqrt(1 - (mark / 4.2) ** 2)
        ends = ((mark * 25.0 - reach * 0.3, -reach * 0.75), (mark * 25.0 + reach * 0.3, reach * 0.75))
        canvas.stroke(turned(ends, centre, angle), 5, darker(seared, 0.62))
    for _ in range(70):
        canvas.ellipse((centre[0] + canvas.jitter(76), centre[1] + canvas.jitter(46)), (1.0, 0.9), (214, 196, 172))
    _sprig(canvas, (296, 210 + canvas.jitter(8)))
    for _ in range(canvas.rng.randint(2, 4)):
        spot = (100 + canvas.jitter(16), 220 + canvas.jitter(14))
        canvas.ball(spot, (12, 11), _RED, gloss=0.45)


def _sprig(canvas: Canvas, start: Point) -> None:
    lean = canvas.jitter(16)
    stem = [(start[0] - step * 9.0, start[1] - step * (5.0 + lean / 8)) for step in range(9)]
    canvas.stroke(stem, 2.4, (92, 96, 56))
    for x, y in stem[1:]:
        for side in (-1, 1):
            canvas.stroke(((x, y), (x - 9, y + side * 11)), 2.6, mix(_GREEN, (52, 96, 60), canvas.rng.random()))


def noodles(canvas: Canvas) -> None:
    """A bowl of noodles with half an egg, spring onion and chopsticks."""
    glaze = canvas.rng.choice(((44, 74, 112), (150, 46, 40), (52, 56, 60), (232, 228, 216)))
    opening = canvas.bowl((200, 150), 148, glaze)
    broth = canvas.rng.choice(((196, 128, 58), (222, 168, 92), (168, 84, 44)))
    canvas.ellipse((200, 154), (opening[0] * 0.97, opening[1] * 0.94), broth)
    noodle = mix((250, 222, 140), (240, 200, 100), canvas.rng.random())
    for _ in range(60):
        _noodle(canvas, (200, 152), (opening[0] * 0.84, opening[1] * 0.8), noodle)
    canvas.ellipse((268, 150), (31, 22), (250, 248, 240))
    canvas.ball((268, 150), (17, 12), (246, 166, 36), gloss=0.25)
    for _ in range(18):
        spot = (176 + canvas.jitter(66), 150 + canvas.jitter(36))
        canvas.ellipse(spot, (5.4, 4.0), (106, 168, 72))
        canvas.ellipse(spot, (2.8, 2.0), (214, 232, 170))
    shift = canvas.jitter(14)
    for gap in (0, 13):
        canvas.stroke(((218 + gap + shift, 156), (344 + gap * 1.6, 10)), 6.5, (92, 44, 32))
        canvas.stroke(((217 + gap + shift, 154), (343 + gap * 1.6, 9)), 2, (146, 84, 58))


def _noodle(canvas: Canvas, centre: Point, reach: Point, colour: Colour) -> None:
    turn = canvas.rng.uniform(0, math.tau)
    distance = math.sqrt(canvas.rng.random()) * 0.62
    middle = (centre[0] + reach[0] * distance * math.cos(turn), centre[1] + reach[1] * distance * math.sin(turn))
    bend, length, start = canvas.rng.uniform(0.4, 1.2), canvas.rng.uniform(14, 40), canvas.rng.uniform(0, math.tau)
    points = []
    for step in range(13):
        swing = start + bend * step / 3
        x = middle[0] + length * math.cos(swing) + (step - 6) * 1.4
        y = middle[1] + length * 0.5 * math.sin(swing)
        pull = max(1.0, math.hypot((x - centre[0]) / reach[0], (y - centre[1]) / reach[1]))
        points.append((centre[0] + (x - centre[0]) / pull, centre[1] + (y - centre[1]) / pull))
    shade = mix(colour, lighter(colour, 0.5), canvas.rng.random())
    canvas.stroke(points, 6.4, darker(colour, 0.3))
    canvas.stroke(points, 4.6, shade)


def rice(canvas: Canvas) -> None:
    """A bowl heaped with rice."""
    glaze = canvas.rng.choice(((96, 142, 160), (178, 92, 60), (62, 92, 74), (70, 62, 108)))
    opening = canvas.bowl((200, 164), 138, glaze)
    heap = canvas.rng.uniform(62, 84)
    for step in range(30):
        share = step / 29
        width = opening[0] * 0.96 * math.sqrt(1 - share**2 * 0.97)
        canvas.ellipse((200, 166 - heap * share), (width, width * 0.47), mix((214, 208, 194), (250, 248, 240), share))
    for _ in range(1300):
        share = canvas.rng.random()
        turn = canvas.rng.uniform(0, math.tau)
        width = opening[0] * 0.93 * math.sqrt(1 - share**2 * 0.97)
        distance = math.sqrt(canvas.rng.random()) if share > 0.9 else 1.0
        x = 200 + width * distance * math.cos(turn)
        y = 166 - heap * share + width * 0.45 * distance * math.sin(turn)
        lit = canvas.rng.random() * (0.4 + 0.6 * share)
        angle = canvas.rng.uniform(0, 180)
        canvas.ellipse((x + 0.7, y + 0.9), (4.4, 1.9), (196, 188, 172), angle)
        canvas.ellipse((x, y), (4.2, 1.7), mix((232, 228, 216), (255, 254, 250), lit), angle)
    _rice_topping(canvas, (200, 166 - heap))


def _rice_topping(canvas: Canvas, top: Point) -> None:
    topping = canvas.rng.randint(0, 2)
    if topping == 0:
        for _ in range(60):
            spot = (top[0] + canvas.jitter(66), top[1] + 6 + canvas.jitter(20))
            canvas.ellipse(spot, (2.2, 1.3), (52, 44, 40), canvas.rng.uniform(0, 180))
        canvas.ball((top[0], top[1] - 2), (18, 14), (186, 50, 70), gloss=0.35)
    elif topping == 1:
        for _ in range(34):
            spot = (top[0] + canvas.jitter(80), top[1] + 12 + canvas.jitter(24))
            canvas.ball(spot, (4.6, 4.2), canvas.rng.choice(((110, 176, 70), (240, 148, 50))), gloss=0.3)
    else:
        for index in range(3):
            x = top[0] - 26 + index * 26
            canvas.polygon(
                ((x - 15, top[1] - 20), (x + 7, top[1] - 26), (x + 13, top[1] + 12), (x - 10, top[1] + 16)),
                (36, 52, 42),
            )


def seafood(canvas: Canvas) -> None:
    """A whole fish on a long plate, with slices of lemon."""
    canvas.plate((200, 154), (184, 108), canvas.rng.choice((WHITE, (214, 228, 236), (58, 84, 110))))
    skin = canvas.rng.choice(((134, 156, 176), (226, 128, 96), (112, 148, 150), (190, 170, 120)))
    angle = canvas.jitter(10)
    centre = (188 + canvas.jitter(6), 148 + canvas.jitter(5))
    canvas.shadow((centre[0] + 6, centre[1] + 12), (124, 46), 0.5, 6)
    tail = ((84.0, 0.0), (136.0, -40.0), (124.0, 0.0), (136.0, 40.0))
    canvas.polygon(turned(tail, centre, angle), darker(skin, 0.25))
    for side in (-1, 1):
        fin = ((-34.0, side * 34.0), (38.0, side * 30.0), (30.0, side * 58.0), (0.0, side * 52.0))
        canvas.polygon(turned(fin, centre, angle), darker(skin, 0.3))
    canvas.ball(centre, (112, 46), skin, angle, gloss=0.4)
    for row in range(-2, 3):
        for column in range(8):
            spot = (-38 + column * 15 + (row % 2) * 7.5, row * 13.0)
            if (spot[0] / 104) ** 2 + (spot[1] / 42) ** 2 < 0.85:
                arc = [(spot[0] + 6 * math.cos(t), spot[1] + 6.5 * math.sin(t)) for t in (-1.2, -0.6, 0.0, 0.6, 1.2)]
                canvas.stroke(turned(arc, centre, angle), 1.6, darker(skin, 0.3))
    gill = [(-60 + 8 * math.cos(t), 26 * math.sin(t)) for t in (-1.2, -0.6, 0.0, 0.6, 1.2)]
    canvas.stroke(turned(gill, centre, angle), 2.6, darker(skin, 0.4))
    eye = turned(((-84.0, -10.0),), centre, angle)[0]
    canvas.ellipse(eye, (8, 8), (250, 246, 226))
    canvas.ellipse(eye, (4.4, 4.4), (24, 24, 28))
    for index in range(canvas.rng.randint(2, 4)):
        _lemon_slice(canvas, (110 + index * 52 + canvas.jitter(6), 218 - abs(index - 1) * 5 + canvas.jitter(4)))
    _herbs(canvas, (200, 150), (96, 40), 14)


def _lemon_slice(canvas: Canvas, centre: Point) -> None:
    canvas.shadow((centre[0] + 2, centre[1] + 4), (24, 19), 0.35, 3)
    canvas.ellipse(centre, (24, 19), (244, 204, 46))
    canvas.ellipse(centre, (21.5, 16.8), (253, 248, 212))
    for segment in range(8):
        turn = segment * math.pi / 4 + 0.2
        spot = (centre[0] + 11.5 * math.cos(turn), centre[1] + 9 * math.sin(turn))
        canvas.ellipse(spot, (8.2, 4.0), (250, 222, 90), math.degrees(turn))


def soup(canvas: Canvas) -> None:
    """A bowl of soup with a swirl of cream, herbs, a spoon and steam."""
    glaze = canvas.rng.choice(((240, 238, 230), (84, 110, 126), (206, 134, 82), (120, 60, 62)))
    canvas.shadow((346, 236), (40, 12), 0.4, 5)
    canvas.stroke(((352, 226), (378, 96)), 7, (168, 172, 178))
    canvas.ball((348, 238), (22, 32), (196, 200, 206), 8, 0.3)
    opening = canvas.bowl((184, 142), 150, glaze)
    liquid = canvas.rng.choice(((226, 116, 36), (196, 54, 34), (132, 158, 62), (238, 186, 74)))
    canvas.ellipse((184, 146), (opening[0] * 0.97, opening[1] * 0.94), darker(liquid, 0.2))
    canvas.ellipse((184, 148), (opening[0] * 0.94, opening[1] * 0.9), liquid)
    start = canvas.rng.uniform(0, math.tau)
    spiral = []
    for step in range(70):
        turn, reach = start + step / 9, 0.12 + 0.5 * step / 70
        spiral.append((184 + opening[0] * reach * math.cos(turn), 148 + opening[1] * reach * math.sin(turn)))
    canvas.stroke(spiral, 5, lighter(liquid, 0.75))
    for _ in range(canvas.rng.randint(6, 10)):
        spot = (184 + canvas.jitter(84), 148 + canvas.jitter(36))
        cube = ((-8.0, -6.0), (7.0, -7.0), (8.0, 5.0), (-7.0, 7.0))
        turn = canvas.rng.uniform(0, 90)
        canvas.polygon(turned(cube, (spot[0] + 1.5, spot[1] + 2.5), turn), darker(liquid, 0.35))
        canvas.polygon(turned(cube, spot, turn), mix((220, 166, 88), (196, 130, 60), canvas.rng.random()))
    _herbs(canvas, (184, 148), (92, 42), 26)
    for wisp in (-46, 0, 46):
        phase = canvas.rng.uniform(0, math.tau)
        left = [(184 + wisp + 12 * math.sin(y / 24 + phase), 110.0 - y) for y in range(0, 96, 6)]
        canvas.glow([*left, *((x + 11, y) for x, y in reversed(left))], 0.5, 6)


def vegetable_fruit(canvas: Canvas) -> None:
    """Fruit and vegetables side by side: apple, tomato, orange, carrot, broccoli, grapes."""
    board = (214, 178, 128)
    canvas.shadow((206, 186), (180, 98))
    canvas.ellipse((200, 178), (182, 98), darker(board, 0.25))
    canvas.ellipse((200, 173), (182, 98), board)
    items = [_apple, _tomato, _orange, _carrot, _broccoli, _grapes]
    canvas.rng.shuffle(items)
    places: tuple[Point, ...] = ((112, 124), (206, 114), (296, 130), (140, 208), (252, 212))
    for paint, (x, y) in zip(items, places, strict=False):
        centre = (x + canvas.jitter(8), y + canvas.jitter(6))
        canvas.shadow((centre[0] + 5, centre[1] + 26), (42, 17), 0.45, 5)
        paint(canvas, centre)


def _apple(canvas: Canvas, centre: Point) -> None:
    x, y = centre
    skin = canvas.rng.choice((_RED, (126, 182, 58), (232, 186, 60)))
    canvas.ball((x - 12, y), (31, 37), skin, gloss=0.4)
    canvas.ball((x + 12, y), (31, 37), skin, gloss=0.4)
    canvas.ellipse((x, y - 30), (13, 5), darker(skin, 0.4))
    canvas.stroke(((x, y - 30), (x + 3, y - 42), (x + 8, y - 49)), 3, (92, 62, 36))
    canvas.ellipse((x + 20, y - 44), (14, 6), (104, 164, 62), -24)


def _tomato(canvas: Canvas, centre: Point) -> None:
    x, y = centre
    canvas.ball(centre, (42, 36), (214, 50, 32), gloss=0.42)
    for turn in range(0, 360, 72):
        canvas.ellipse(
            (x + 12 * math.cos(math.radians(turn)), y - 22 + 6 * math.sin(math.radians(turn))),
            (13, 4.2),
            (72, 134, 52),
            turn,
        )


def _orange(canvas: Canvas, centre: Point) -> None:
    x, y = centre
    canvas.ball(centre, (39, 38), (244, 148, 30), gloss=0.36)
    for _ in range(60):
        canvas.ellipse((x + canvas.jitter(26), y + canvas.jitter(25)), (0.9, 0.8), (214, 116, 20))
    canvas.ellipse((x + 2, y - 30), (6, 3.4), (90, 120, 50))


def _carrot(canvas: Canvas, centre: Point) -> None:
    angle = canvas.jitter(22)
    body = ((-46.0, -17.0), (-52.0, 0.0), (-46.0, 17.0), (0.0, 12.0), (60.0, 1.5), (60.0, -1.5), (0.0, -12.0))
    for leaf in (-22, -8, 8, 22):
        tip = turned(((-86.0, leaf * 1.3),), centre, angle)[0]
        foot = turned(((-48.0, 0.0),), centre, angle)[0]
        canvas.stroke((foot, tip), 6, mix(_GREEN, (120, 170, 70), abs(leaf) / 22))
    canvas.polygon(turned([(x, y + 3) for x, y in body], centre, angle), (190, 86, 20))
    canvas.polygon(turned(body, centre, angle), (240, 130, 40))
    for ring in (-34, -18, -2, 16, 32):
        reach = 11 - ring / 8
        canvas.stroke(turned(((ring, -reach), (ring + 4, 0.0)), centre, angle), 1.8, (206, 98, 24))


def _broccoli(canvas: Canvas, centre: Point) -> None:
    x, y = centre
    canvas.polygon(((x - 13, y), (x + 13, y), (x + 18, y + 38), (x - 18, y + 38)), (168, 196, 110))
    for _ in range(38):
        turn, reach = canvas.rng.uniform(0, math.tau), math.sqrt(canvas.rng.random())
        spot = (x + 33 * reach * math.cos(turn), y - 12 + 23 * reach * math.sin(turn))
        canvas.ball(spot, (10.5, 10), mix((58, 118, 52), (98, 158, 72), canvas.rng.random()), gloss=0.3)


def _grapes(canvas: Canvas, centre: Point) -> None:
    x, y = centre
    skin = canvas.rng.choice(((112, 62, 130), (142, 176, 74), (78, 52, 110)))
    canvas.stroke(((x, y - 30), (x - 5, y - 48)), 3.2, (108, 84, 50))
    for row, count in enumerate((4, 5, 4, 3, 2)):
        for index in range(count):
            spot = (x + (index - (count - 1) / 2) * 17 + canvas.jitter(1.5), y - 26 + row * 14)
            canvas.ball(spot, (10.5, 10.5), skin, gloss=0.45)


DISHES: Final[tuple[Callable[[Canvas], None], ...]] = (
    bread,
    dairy_product,
    dessert,
    egg,
    fried_food,
    meat,
    noodles,
    rice,
    seafood,
    soup,
    vegetable_fruit,
)
"""In the order of the data set's classes."""
