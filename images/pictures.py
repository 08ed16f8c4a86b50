"""Names, files and stamps of the pictures; needs none of the drawing programs."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

FOLDER: Final = Path(__file__).resolve().parent
SOURCES: Final = FOLDER / "source"
STYLE: Final = SOURCES / "style.d2"
LEGEND: Final = SOURCES / "legend.d2"
PNG_KEY: Final = "source-sha256"
"""Name of the text chunk of a PNG file, and of the comment of an SVG file, with the hash of the sources."""

_COLOUR: Final = re.compile(r'^  ([a-z-]+): "(#[0-9a-f]{6})"$', re.MULTILINE)
_STAMP: Final = re.compile(rf"<!-- {PNG_KEY}: ([0-9a-f]{{64}}) -->")


@dataclass(frozen=True)
class Picture:
    """A picture of the lab.

    Attributes:
        name: name of its files, without suffix.
        title: a few words.
        text: alternative text, one to three sentences.
    """

    name: str
    title: str
    text: str

    @property
    def source(self) -> Path:
        """File from which it is drawn; a timeline is data, the others are D2."""
        data = SOURCES / f"{self.name}.yaml"
        return data if data.exists() else SOURCES / f"{self.name}.d2"

    @property
    def svg(self) -> Path:
        """Vector file."""
        return FOLDER / f"{self.name}.svg"

    @property
    def png(self) -> Path:
        """Pixel file, for programs that show no SVG."""
        return FOLDER / f"{self.name}.png"

    def source_hash(self) -> str:
        """Hash of all that decides its look: source, style, legend, and the program that draws it."""
        program = "timeline.py" if self.source.suffix == ".yaml" else "d2.py"
        files = (self.source, STYLE, LEGEND, FOLDER / program)
        return hashlib.sha256("\0".join(each.read_text() for each in files).encode()).hexdigest()


def all_pictures() -> list[Picture]:
    """Pictures in the order of alternative-texts.yaml."""
    texts = yaml.safe_load((FOLDER / "alternative-texts.yaml").read_text())
    return [Picture(name, each["title"], each["text"].strip()) for name, each in texts.items()]


def colours() -> dict[str, str]:
    """Colours of style.d2 by name."""
    return dict(_COLOUR.findall(STYLE.read_text()))


def stamp(source_hash: str) -> str:
    """XML comment that carries the hash of the sources."""
    return f"<!-- {PNG_KEY}: {source_hash} -->"


def stamp_of(svg: str) -> str:
    """Hash in the stamp of an SVG file; empty without one."""
    found = _STAMP.search(svg)
    return found[1] if found else ""
