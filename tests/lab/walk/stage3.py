"""Stage 3: data set, API without events, traffic."""

import re

from tests.lab import pages, stores
from tests.lab.book import notebook
from tests.lab.expectations import expect
from tests.lab.lab import Lab
from tests.lab.steps import LabStep, Stage, growing, listed, logged, shell, up

_BOOK = notebook("3_endpoints")
_DATASET_LOGS = _BOOK.command("docker logs extract; docker logs transform")

_PATHS = ("/health", "/images/", "/users/", "/upload/", "/images/{image_id}/view", "/comments/", "/flags/")


def _dataset(lab: Lab) -> str:
    text = shell(lab, _DATASET_LOGS)
    source = re.search(r"^Source: .*", text, re.MULTILINE)
    expect(source, f"the source is not named: {text[-300:]}")
    splits = [name for name in ("training", "validation", "evaluation") if name in text]
    expect(len(splits) == 3, f"counts of the splits are missing: {text[-300:]}")
    return f"{source.group(0) if source else ''}; counts of {', '.join(splits)}"


def _docs(lab: Lab) -> str:
    expect("swagger-ui" in pages.get("8000/docs").text, "no docs page")
    paths = pages.get("8000/openapi.json").json()["paths"]
    missing = [path for path in _PATHS if path not in paths]
    expect(not missing, f"endpoints missing: {missing}")
    return f"docs page; {len(paths)} endpoints, all of the lab's among them"


def _health_v1(lab: Lab) -> str:
    answer = pages.get("8000/health").json()
    expect(answer == {"status": "healthy"}, f"answered {answer}")
    return str(answer)


def _preview(lab: Lab) -> str:
    keys = stores.objects(lab, "gourmetgram-images")
    expect(keys, "no object in gourmetgram-images")
    head = stores.s3(lab).get_object(Bucket="gourmetgram-images", Key=keys[0])
    expect(head["ContentType"].startswith("image/"), f"{keys[0]} is {head['ContentType']}")
    expect(head["Body"].read(3) == b"\xff\xd8\xff", f"{keys[0]} is no JPEG")
    return f"{len(keys)} objects; {keys[0]} is {head['ContentType']}"


def _no_download(lab: Lab) -> str:
    expect("download" not in lab.logs("data_generator").lower(), "the generator downloads something")
    return "no line about a download"


STAGE = Stage(
    "3",
    "3 Data set, API, traffic",
    (
        up(_BOOK.command("up -d extract-data transform-data"), done=["extract-data", "transform-data"], deadline_s=600),
        LabStep(_DATASET_LOGS.text, "source and counts per split and class", _dataset, typed=(_DATASET_LOGS,)),
        up(_BOOK.command("up -d api_v1"), healthy=["api_v1"], done=["migrate"]),
        listed(_BOOK.command("docker ps"), ["api_v1"]),
        LabStep("API docs :8000/docs", "the endpoints are listed", _docs),
        LabStep("GET /health in the docs page", '{"status": "healthy"}', _health_v1),
        up(_BOOK.command("up -d data_generator"), healthy=["data_generator"]),
        logged(_BOOK.command("docker logs -f generator"), "data_generator", ("user", "upload", "comment", "flag"), 120),
        LabStep("docker logs generator", "no download", _no_download),
        LabStep(
            "Adminer: the tables again",
            "rows grow in users, images, comments, flags; images.views rises",
            growing(stores.counts, ("users", "images", "comments", "flags", "views"), 150),
        ),
        LabStep("MinIO console: gourmetgram-images, Preview", "objects that are pictures", _preview),
    ),
)
