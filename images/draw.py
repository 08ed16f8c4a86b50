"""Program that draws all pictures again, or those whose names are given: `python -m images.draw [NAME ...]`.

It needs a Go toolchain (the system's, or that of `make setup`), matplotlib, and Chromium for the PNG files.
"""

import logging
import math
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from images import d2, timeline
from images.pictures import PNG_KEY, Picture, all_pictures, stamp

log = logging.getLogger("images")

PNG_WIDTH: Final = 1600
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ROOT: Final = re.compile(r"<svg [^>]*?>", re.DOTALL)
_VIEW_BOX: Final = re.compile(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"')


def main(names: list[str]) -> None:
    """Draw the named pictures, or all without a name."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    browser = find_browser()
    tools = d2.obtain()
    for picture in all_pictures():
        if not names or picture.name in names:
            if picture.source.suffix == ".yaml":
                timeline.draw(picture.source, tools / "ttf", picture.svg)
            else:
                d2.draw(tools, picture.source, picture.svg)
            picture.svg.write_text(labelled(picture.svg.read_text(), picture))
            write_png(browser, picture)
            log.info("%s: %d kB, %d kB", picture.name, *(f.stat().st_size // 1000 for f in (picture.svg, picture.png)))


def find_browser() -> str:
    """Path of a Chromium."""
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        sys.exit("The PNG files are drawn by Chromium, and none is on the PATH: install the package chromium.")
    return found


def size_of(svg: str) -> tuple[float, float]:
    """Width and height of the outer view box."""
    found = _VIEW_BOX.search(svg)
    if found is None:
        raise ValueError("The SVG file has no view box that begins at 0 0.")
    return float(found[1]), float(found[2])


def labelled(svg: str, picture: Picture) -> str:
    """SVG text with a size, a title, a description, and the stamp of its sources."""
    width, height = size_of(svg)
    root = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" \
aria-labelledby="title desc" width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}">'
    head = f'<title id="title">{escape(picture.title)}</title>\n<desc id="desc">{escape(picture.text)}</desc>\n'
    body = svg[_first(svg).end() :]
    lines = f"{root}\n{stamp(picture.source_hash())}\n{head}{body}".splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _first(svg: str) -> re.Match[str]:
    found = _ROOT.search(svg)
    if found is None:
        raise ValueError("The file is no SVG.")
    return found


def write_png(browser: str, picture: Picture) -> None:
    """Draw the SVG file as PNG, with few colours and the stamp of its sources."""
    width, height = size_of(picture.svg.read_text())
    pixels = math.ceil(PNG_WIDTH * height / width)
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder) / "page.html", Path(folder) / "shot.png"
        page.write_text(
            f'<body style="margin: 0"><img style="display: block; width: {PNG_WIDTH}px" src="{picture.svg.as_uri()}">'
        )
        subprocess.run(  # noqa: S603 - a fixed command, which shows a file of ours
            [
                *(browser, "--headless", "--no-sandbox", "--hide-scrollbars"),
                *(f"--window-size={PNG_WIDTH},{pixels}", f"--screenshot={shot}", page.as_uri()),
            ],
            check=True,
            capture_output=True,
        )
        notes = PngInfo()
        notes.add_text(PNG_KEY, picture.source_hash())
        with Image.open(shot) as image:
            few_colours(image).save(picture.png, optimize=True, pnginfo=notes)


def few_colours(image: Image.Image) -> Image.Image:
    """Image with its 256 most frequent colours, exactly; the shades of letters' edges go to the nearest of them."""
    pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    colours, places, counts = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    kept = colours[np.argsort(-counts)[:256]]
    # Pillow's own choice of the nearest colour is rough: it makes white a light grey.
    distances = ((colours[:, None].astype(int) - kept[None].astype(int)) ** 2).sum(axis=2)
    indexes = distances.argmin(axis=1).astype(np.uint8)[places.ravel()]
    drawn = Image.frombytes("P", image.size, indexes.tobytes())
    drawn.putpalette(kept.tobytes())
    return drawn


if __name__ == "__main__":
    main(sys.argv[1:])
