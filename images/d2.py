"""D2, the drawing language of all pictures but the timeline: built once from its Go module, into the user's cache."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from gourmetgram.settings import process_environment
from gourmetgram_tools.local import toolchain
from gourmetgram_tools.local.settings import LocalSettings

VERSION: Final = "v0.7.2"
_MODULE: Final = "oss.terrastruct.com/d2"
_COMPACT: Final = (
    "--elk-nodeNodeBetweenLayers=24",
    "--elk-edgeNodeBetweenLayers=18",
    "--elk-padding=[top=24,left=24,bottom=24,right=24]",
)
"""Distances of the layout; those of D2 itself make tall pictures."""


def obtain() -> Path:
    """Folder with the program `d2` and its fonts in `ttf/`; the first call downloads and compiles for some minutes."""
    cache = LocalSettings.load().cache
    folder = cache / f"d2-{VERSION}"
    with toolchain.exclusive(cache / "d2.lock"):
        if not folder.exists():
            _build(folder, cache / "d2-build")
    return folder


def _build(folder: Path, workshop: Path) -> None:
    workshop.mkdir(parents=True, exist_ok=True)
    go, variables = toolchain.find_go()
    environment = process_environment() | variables
    environment |= {
        "GOBIN": str(workshop / "bin"),
        "GOCACHE": str(workshop / "compiled"),
        "GOMODCACHE": str(workshop / "modules"),
        "GOFLAGS": "-modcacherw -trimpath",
        "CGO_ENABLED": "0",
    }
    subprocess.run(  # noqa: S603 - a fixed command
        [go, "install", "-ldflags", "-s -w", f"{_MODULE}@{VERSION}"], env=environment, cwd=workshop, check=True
    )
    fonts = workshop / "modules" / f"{_MODULE}@{VERSION}" / "d2renderers" / "d2fonts" / "ttf"
    shutil.copytree(fonts, workshop / "bin" / "ttf", dirs_exist_ok=True)
    (workshop / "bin").replace(folder)
    shutil.rmtree(workshop)


def draw(folder: Path, source: Path, svg: Path) -> None:
    """Write the SVG file of a D2 source.

    Args:
        folder: result of `obtain`.
        source: the source; an error in it ends the program `d2` with a sentence on the terminal.
        svg: file to write.
    """
    subprocess.run([folder / "d2", *_COMPACT, source, svg], check=True)  # noqa: S603 - a fixed command
    svg.chmod(0o644)
