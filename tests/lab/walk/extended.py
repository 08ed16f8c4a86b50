"""The extended lab's own path (section 3 of the contract): every command of its page, on the same platform."""

import json
import os
import re

from tests.lab import checkout, pages, stores
from tests.lab.book import Typed, page
from tests.lab.commands import run
from tests.lab.expectations import expect, until
from tests.lab.lab import Lab
from tests.lab.places import CHECKOUT, OUTPUT
from tests.lab.steps import LabStep, Stage, growing
from tests.lab.walk import large_data, stage5

_BOOK = page("extended")
_SETUP = _BOOK.command("scripts/setup.sh")
_CONDA = _BOOK.command("scripts/conda.sh")
_PIP = _BOOK.command("scikit-learn")
_PS = _BOOK.command("docker ps")
_HELP = _BOOK.command("simulate_viral.py --help")
_UP = _BOOK.command("docker compose up -d")
_STATES = _BOOK.command("docker compose ps")
_CONSUMER_LOG = _BOOK.command("docker logs -f stream-consumer")
_SCORER_LOG = _BOOK.command("docker logs -f risk-scoring-service")
_STOP = _BOOK.command("stop data_generator")
_START = _BOOK.command("start data_generator")
_SIMULATE = _BOOK.command("simulate_viral.py")
_SCORER_UP = _BOOK.command("up -d risk_scoring_service")
_SCORER_BUILD = _BOOK.command("up -d --build risk_scoring_service")
_PAST = _BOOK.command("=40000 data_generator")
_VERIFY = _BOOK.command("verify_pipeline.py")
_NEWEST = _BOOK.query("moderation_decisions")
_COMPARISON = next(query for query in _BOOK.queries if "GROUP BY inference_mode" in query)
# Home of the lab's account, so that the machine's own start files stay as they are.
_HOME = OUTPUT / "home"
_TABLES = ("images", "comments", "flags")
_ENOUGH_IMAGES = 300


def _environment() -> dict[str, str]:
    """Variables of a new login: the lab's environment is the first place for programs."""
    return {"HOME": str(_HOME), "PATH": f"{_HOME / 'lab-environment' / 'bin'}:{os.environ['PATH']}"}


def _typed(command: Typed, timeout: float = 300, variables: dict[str, str] | None = None) -> str:
    """Run a command of the text in the root of the checkout; return its output."""
    words = ("bash", "-c", command.here)
    return run(*words, folder=CHECKOUT, timeout=timeout, environment=variables or _environment()).must_succeed().output


def _scripts(_lab: Lab) -> str:
    _HOME.mkdir(parents=True, exist_ok=True)
    ready = _typed(_SETUP, 600).splitlines()[-1]
    environment = _typed(_CONDA).splitlines()[0]
    return f"{ready}\n{environment}"


def _login(_lab: Lab) -> str:
    _typed(_PIP, 900)
    _typed(_PS)
    text = _typed(_HELP)
    expect("image_id" in text, f"no help: {text}")
    where = _typed(Typed("python3 -c 'import sys, sklearn, kafka; print(sys.prefix)'"))
    expect(where == str(_HOME / "lab-environment"), f"python3 is that of {where}")
    return "the packages are in the lab's environment; docker ps and the help work"


def _everything(lab: Lab) -> str:
    services = lab.default_services()
    # Services whose images cannot be had are left out: a plain `up -d` would ask for them.
    command = f"{_UP.compose} {' '.join(services)}"
    first = lab.compose(command, timeout=900)
    if first.code != 0:
        # All health checks start at once: on a busy machine one may give up too early. The text says to repeat it.
        lab.do(command, timeout=900)
    long_running = [name for name in services if lab.services[name].get("restart") not in (None, "no")]
    states = lab.wait_healthy(long_running, 600)
    listing = lab.do(f"{_STATES.compose} -a --format json")
    names = {json.loads(line)["Name"] for line in listing.splitlines() if line.startswith("{")}
    expect(not names or lab.container("api_v2") in names, f"`ps` lists {sorted(names)}")
    return states if first.code == 0 else f"the second time (first: {first.tail.splitlines()[-1]}): {states}"


def _sights(lab: Lab) -> str:
    """Contents of the six places of the text."""

    def probe() -> dict[str, int]:
        found = {topic: len(stores.messages(topic)) for topic in stores.EVENT_TOPICS}
        expect(all(found.values()), f"messages {found}")
        return found

    topics = until(probe, 420)
    keys = len(list(stores.redis_client().scan_iter("image:*", count=1000)))
    expect(keys, "no key image:*")
    milestones = stores.sql(lab, "SELECT count(*) FROM image_milestones")[0][0]
    pages.adminer_tables(lab, (*_TABLES, "image_milestones"))
    expect("swagger-ui" in pages.get("8000/docs").text, "no docs page")
    objects = len(stores.objects(lab, "gourmetgram-images"))
    expect(objects, "no object in gourmetgram-images")
    return f"messages {topics}; {keys} keys image:*; {milestones} milestones; docs page; {objects} objects"


def _consumer(lab: Lab) -> str:
    lines = lab.wait_log("stream_consumer", ["MILESTONE REACHED! Image"], 420)
    expect("MILESTONE" in _typed(_CONSUMER_LOG), "the command of the text shows another log")
    milestones = stores.sql(lab, "SELECT DISTINCT milestone_value FROM image_milestones ORDER BY 1")
    return f"{lines}\nrows of image_milestones for {', '.join(str(row[0]) for row in milestones)} views"


def _simulate(lab: Lab) -> str:
    output = _typed(_SIMULATE)
    found = re.search(r"Simulating viral burst for image: ([0-9a-f-]{36})", output)
    expect(found, f"no image named: {output}")
    for line in ("Publishing 110 view events to 'gourmetgram.views'...", "Done. 110 view events published."):
        expect(line in output, f"no line {line!r}")
    image = found.group(1) if found else ""
    lab.notes["simulated"] = image
    return f"image {image}; 110 view events"


def _stop_and_simulate(lab: Lab) -> str:
    checkout.write_setting("INFERENCE_MODE", None)
    lab.do("up -d risk_scoring_service")
    lab.wait_healthy(["risk_scoring_service"], 120)
    lab.do(_STOP.compose)
    return _simulate(lab)


def _decided(lab: Lab, tag: str) -> str:
    id8 = lab.notes["simulated"][:8]
    seen = [
        lab.wait_log(
            "stream_consumer", [f"VIRAL CONTENT ALERT! Image {id8}", f"Published moderation request for {id8}"], 30
        ),
        lab.wait_log("risk_scoring_service", [f"[{tag}] Image {id8}...", f"Stored moderation decision for {id8}"], 30),
    ]
    return "\n".join(seen)


def _newest(lab: Lab, mode: str) -> tuple[object, ...]:
    def probe() -> tuple[object, ...]:
        rows = stores.sql(lab, _NEWEST)
        expect(rows and str(rows[0][0]) == lab.notes["simulated"], f"newest row: {rows[:1]}")
        expect(rows[0][1] == mode, f"newest row: {rows[0]}")
        return tuple(rows[0])

    return until(probe, 30)


def _by_rules(lab: Lab) -> str:
    lines = _decided(lab, "HEURISTIC")
    for command in (_CONSUMER_LOG, _SCORER_LOG):
        expect(lab.notes["simulated"][:8] in _typed(command), f"`{command.text}` shows another log")
    popular = lab.wait_log("stream_consumer", [f"POPULAR POST! Image {lab.notes['simulated'][:8]}"], 15)
    return f"{popular}\n{lines}\nnewest row: {tuple(map(str, _newest(lab, 'heuristic')[1:5]))}"


def _other_rules(lab: Lab) -> str:
    checkout.write_setting("POLICY_VERSION", "v2")
    lab.do(_SCORER_UP.compose)
    lab.wait_healthy(["risk_scoring_service"], 120)
    _simulate(lab)
    row = _newest(lab, "heuristic")
    policy = "SELECT policy_version FROM moderation WHERE target_id = %s ORDER BY created_at DESC LIMIT 1"
    version = stores.sql(lab, policy, (str(row[0]),))[0][0]
    expect(version == "v2", f"policy_version {version}")
    return f"newest row: {tuple(map(str, row[1:5]))}; policy_version {version}"


def _traffic(lab: Lab) -> str:
    lab.do(_START.compose)
    return growing(lambda lab: stores.counts(lab), ("views",), 180)(lab)


def _past(lab: Lab) -> str:
    images = stores.counts(lab)["images"]
    if images >= _ENOUGH_IMAGES:
        return f"left out, as the text says: {images} images"
    lab.do(_PAST.compose, timeout=900)
    return f"{images} -> {stores.counts(lab)['images']} images; {until(lambda: stores.in_outbox(lab, 99), 300)}"


def _tables(lab: Lab) -> str:
    runs = [stage5.run_dag(lab, dag) for dag in ("redpanda_event_aggregation", stage5.TRAINING)]
    return "\n".join(runs)


def _verify(_lab: Lab) -> str:
    output = _typed(_VERIFY)
    for piece in ("Table: moderation.training_data", "Row count: ", "Sample rows:"):
        expect(piece in output, f"no line {piece!r}: {output[-300:]}")
    found = re.search(r"Row count: \d+", output)
    return f"exit 0, {found.group(0) if found else ''}"


def _by_model(lab: Lab) -> str:
    checkout.write_setting("INFERENCE_MODE", "model")
    lab.do(_SCORER_BUILD.compose, timeout=900)
    lab.wait_healthy(["risk_scoring_service"], 120)
    pieces = (
        "Checking MinIO for new model artifacts...",
        "Downloading model from s3://gourmetgram-datalake/models/moderation/",
        "Model loaded successfully (version: ",
    )
    loaded = lab.wait_log("risk_scoring_service", pieces, 120)
    lab.do("stop data_generator")
    _simulate(lab)
    lines = _decided(lab, "MODEL")
    expect("[MODEL]" in _typed(_SCORER_LOG), "the command of the text shows another log")
    return f"{loaded}\n{lines}\nnewest row: {tuple(map(str, _newest(lab, 'model')[1:5]))}"


def _comparison(lab: Lab) -> str:
    rows = stores.sql(lab, _COMPARISON)
    expect({row[0] for row in rows} >= {"heuristic", "model"}, f"rows {rows}")
    return "; ".join(str(tuple(map(str, row))) for row in rows)


STAGE = Stage(
    "extended",
    "Extended lab",
    (
        LabStep(f"{_SETUP.text}; {_CONDA.text}", "both end well", _scripts, typed=(_SETUP, _CONDA)),
        LabStep(
            f"{_PIP.text}; {_PS.text}; {_HELP.text}", "packages, a list, the help", _login, True, (_PIP, _PS, _HELP)
        ),
        LabStep(f"{_UP.text}; ps", "every long-running service healthy", _everything, True, (_UP, _STATES)),
        LabStep("the six sights", "content at each", _sights),
        LabStep(_CONSUMER_LOG.text, "a milestone", _consumer, typed=(_CONSUMER_LOG,)),
        LabStep(f"{_STOP.text}; {_SIMULATE.text}", "its three lines", _stop_and_simulate, True, (_STOP, _SIMULATE)),
        LabStep(
            f"{_CONSUMER_LOG.text}; {_SCORER_LOG.text}; SQL",
            "popular post, alert, request, decision by the rules",
            _by_rules,
            typed=(_CONSUMER_LOG, _SCORER_LOG),
        ),
        LabStep(
            f"POLICY_VERSION=v2; {_SCORER_UP.text}; script; SQL",
            "policy_version v2",
            _other_rules,
            typed=(_SCORER_UP,),
        ),
        LabStep(_START.text, "traffic again", _traffic, typed=(_START,)),
        LabStep(_PAST.text, "600 images of a past week, unless they are there", _past, typed=(_PAST,)),
        LabStep("Airflow: both DAGs", "green tasks", _tables, needed=True),
        LabStep(_VERIFY.text, "table, schema, row count, sample rows; exit 0", _verify, typed=(_VERIFY,)),
        *large_data.STEPS,
        LabStep(
            f"INFERENCE_MODE=model; {_SCORER_BUILD.text}; script; SQL",
            "three load lines; [MODEL], Stored; a row of the model",
            _by_model,
            typed=(_SCORER_BUILD,),
        ),
        LabStep("SQL: comparison by inference_mode", "one row per mode", _comparison),
    ),
)
