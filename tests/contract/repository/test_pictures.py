"""Drawn pictures are fresh, legible and described; their names and ports are those of the compose file."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Final

import pytest
from PIL import Image

from gourmetgram.settings import PROJECT_ROOT
from gourmetgram_tools.compose.file import services_of
from images.draw import PNG_WIDTH, size_of
from images.pictures import FOLDER, PNG_KEY, SOURCES, Picture, all_pictures, colours, stamp_of

COMPOSE_FILE: Final = PROJECT_ROOT / "docker" / "docker-compose.yaml"
SERVICES: Final = services_of(COMPOSE_FILE)
NAMES: Final = {
    *("application-components", "application-flow", "image-timeline", "realtime-components", "realtime-flow"),
    "architecture",
}
NO_CONTAINERS: Final = {"volume food11", "extract, transform", "Iceberg tables in minio", "models in minio"}
"""Labels of shapes that stand for no container of their own."""
STAGES: Final = {"application-components": (2, 3), "realtime-components": (4,)}

_SHAPE: Final = re.compile(r'^ *[a-z0-9-]+: "([^"]+)" \{class: (?:service|job|store|page)\}$', re.MULTILINE)
_PORT: Final = re.compile(r":(\d{4,5})\b")
_SVG: Final = "{http://www.w3.org/2000/svg}"
_WIDTH_ON_A_PAGE: Final = 720
_SMALLEST_LETTERS: Final = 10

by_picture = pytest.mark.parametrize("picture", all_pictures(), ids=lambda picture: picture.name)


def ports_of(container: str) -> set[str]:
    """Host ports of a container."""
    found = next(service for service in SERVICES.values() if service["container_name"] == container)
    return {port.split(":")[1] for port in found.get("ports", ())}


def containers_of_stage(stage: int) -> set[str]:
    """Container names below the heading of a stage in the compose file."""
    text = COMPOSE_FILE.read_text()
    part = re.split(r"^  # --- Stage (\d)", text, flags=re.MULTILINE)
    return set(
        re.findall(r"^    container_name: (\S+)$", dict(zip(part[1::2], part[2::2], strict=True))[str(stage)], re.M)
    )


def shapes_of(source: str) -> list[tuple[str, set[str]]]:
    """Name and ports of each shape that stands for a container; a name may be cut at its hyphens, but for the last."""
    found = []
    for label in _SHAPE.findall(source):
        lines = label.split("\\n")
        name = " ".join(line for line in lines if ":" not in line).replace("- ", "-")
        if name not in NO_CONTAINERS:
            found.append((name, set(_PORT.findall(label))))
    return found


def faults_of(source: str) -> list[str]:
    """Names and ports of a source that the compose file does not have."""
    known = {service["container_name"] for service in SERVICES.values()}
    faults = []
    for name, ports in shapes_of(source):
        if name not in known:
            faults.append(f"{name} is no container")
        elif not ports <= ports_of(name):
            faults.append(f"{name} has the ports {sorted(ports_of(name))}, not {sorted(ports)}")
    return faults


def test_the_pictures_are_those_of_the_lab() -> None:
    assert {picture.name for picture in all_pictures()} == NAMES
    assert {path.stem for path in FOLDER.glob("*.svg")} == NAMES
    assert {path.stem for path in FOLDER.glob("*.png")} == NAMES
    assert {path.stem for path in SOURCES.iterdir()} == NAMES | {"style", "legend"}


@by_picture
def test_both_files_were_drawn_from_the_present_source(picture: Picture) -> None:
    again = f"{picture.name} is stale: `make pictures ARGS={picture.name}` draws it again"
    assert stamp_of(picture.svg.read_text()) == picture.source_hash(), again
    with Image.open(picture.png) as image:
        assert image.info[PNG_KEY] == picture.source_hash(), again


@by_picture
def test_an_svg_file_has_a_title_and_a_description(picture: Picture) -> None:
    root = ET.parse(picture.svg).getroot()  # noqa: S314 - our own file
    assert root.get("role") == "img"
    assert root.findtext(f"{_SVG}title") == picture.title
    assert root.findtext(f"{_SVG}desc") == picture.text


@by_picture
def test_an_alternative_text_has_one_to_three_sentences(picture: Picture) -> None:
    assert 1 <= len(re.findall(r"\.(?: |$)", picture.text)) <= 3
    assert len(picture.text) < 500


@by_picture
def test_a_file_is_small_and_wide_enough(picture: Picture) -> None:
    assert picture.svg.stat().st_size < 300_000
    assert picture.png.stat().st_size < 300_000
    with Image.open(picture.png) as image:
        assert image.width == PNG_WIDTH


@by_picture
def test_letters_are_legible_on_a_page(picture: Picture) -> None:
    svg = picture.svg.read_text()
    width, _ = size_of(svg)
    sizes = [float(size) for size in re.findall(r"font-size: ?([0-9.]+)(?:px)?[;\"]", svg)]
    assert picture.name == "image-timeline" or sizes
    assert all(size * _WIDTH_ON_A_PAGE / width >= _SMALLEST_LETTERS for size in sizes)


@by_picture
def test_the_ground_is_white_on_dark_pages_too(picture: Picture) -> None:
    with Image.open(picture.png) as image:
        pixels = image.convert("RGB")
    places = [(0, 0), (pixels.width // 2, 4), (4, pixels.height // 2), (pixels.width - 1, pixels.height - 1)]
    assert {pixels.getpixel(place) for place in places} == {(255, 255, 255)}
    # The SVG file has a ground of its own.
    assert re.search(r'fill(?:="|: )#ffffff', picture.svg.read_text(), re.IGNORECASE)


@pytest.mark.parametrize("source", sorted(SOURCES.glob("*.d2")), ids=lambda path: path.stem)
def test_names_and_ports_are_those_of_the_compose_file(source: Path) -> None:
    text = source.read_text()
    if source.stem in NAMES:
        assert shapes_of(text)
        assert faults_of(text) == []
        # None hides outside a shape.
        assert sum(len(ports) for _, ports in shapes_of(text)) == len(_PORT.findall(text))
    else:
        assert _PORT.findall(text) == []


@pytest.mark.parametrize(("name", "stages"), STAGES.items())
def test_a_component_diagram_has_every_container_of_its_stages(name: str, stages: tuple[int, ...]) -> None:
    drawn = {shape for shape, _ in shapes_of((SOURCES / f"{name}.d2").read_text())}
    assert set().union(*map(containers_of_stage, stages)) - drawn == set()


def test_the_architecture_has_every_container_that_keeps_running() -> None:
    drawn = {shape for shape, _ in shapes_of((SOURCES / "architecture.d2").read_text())}
    running = {each["container_name"] for each in SERVICES.values() if each["restart"] != "no"}
    assert running - drawn == {"api-v1"}  # api-v2 takes its place


@pytest.mark.parametrize(
    ("shape", "fault"),
    [
        ('adminer: "adminer\\n:5051" {class: page}', "adminer has the ports ['5050'], not ['5051']"),
        ('adminer: "pgadmin\\n:5050" {class: page}', "pgadmin is no container"),
        ('redis: "redis\\n:5432" {class: store}', "redis has the ports ['6379'], not ['5432']"),
    ],
)
def test_a_wrong_name_or_port_is_found(shape: str, fault: str) -> None:
    assert faults_of(f"  {shape}\n") == [fault]


@pytest.mark.parametrize("name", ["application-flow", "realtime-flow"])
def test_the_steps_of_a_flow_are_numbered_in_order(name: str) -> None:
    steps = re.findall(r'-> [a-z0-9-]+: "(\d+) ', (SOURCES / f"{name}.d2").read_text())
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert len(steps) > 10


def test_the_drawings_use_the_colours_of_the_style() -> None:
    for picture in all_pictures():
        assert colours()["service-fill"] in picture.svg.read_text().lower()
