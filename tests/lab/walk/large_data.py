"""Step 7 of the extended lab: a table that is larger than the memory of its container."""

import json
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from gourmetgram.settings import process_environment
from tests.lab import stores
from tests.lab.book import Typed, page
from tests.lab.commands import check, run
from tests.lab.expectations import NotSeenError, expect, until
from tests.lab.kernels import JupyterServer, Kernel, KernelDiedError, source
from tests.lab.lab import PROJECT, Lab
from tests.lab.places import CHECKOUT, OUTPUT
from tests.lab.steps import LabStep

_BOOK = page("extended")
_IMAGE: Final = "gourmetgram-trainer:latest"
_FROM_ROOT = _BOOK.command("-f model_training/Dockerfile .")
_FROM_INSIDE = _BOOK.command("-f Dockerfile ..")
_LARGE = _BOOK.command("python3 generate_large_dataset.py")
_STOP = _BOOK.command("stop jupyter")
_SERVER = _BOOK.command(f"AWS_SECRET_ACCESS_KEY=gourmetgram_minio {_IMAGE}")
_DEMONSTRATION: Final = "training_large_data_demo.ipynb"
_ROWS: Final = 6_000_000
_LIMIT_MB: Final = 2**30 / 1e6
_FLAT_MB: Final = 40
"""Growth from the first to the last third of the rows that is no growth: what Python's and Arrow's allocators keep."""
_BUILD_ARGUMENTS: Final = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")
_LOG: Final = OUTPUT / "trainer.log"


def _typed(command: Typed, timeout: float = 300) -> str:
    """Run a command of the text in the root of the checkout; return its output."""
    words = ("bash", "-c", command.here)
    return run(*words, folder=CHECKOUT, timeout=timeout, environment={"DOCKER_BUILDKIT": "1"}).must_succeed().output


def _build(command: Typed) -> LabStep:
    def see(_lab: Lab) -> str:
        # On a machine with a mirror of the package index, the build must know it, as Compose's build does.
        known = [name for name in _BUILD_ARGUMENTS if process_environment().get(name)]
        options = "".join(f" --build-arg {name}" for name in known)
        _typed(Typed(command.text.replace("docker build", f"docker build{options}")), timeout=1800)
        return check("docker", "image", "inspect", "--format", "{{.Id}}", _IMAGE)

    return LabStep(command.text, "the image", see, needed=True, typed=(command,))


def _large(lab: Lab) -> str:
    answer = run("bash", "-c", _LARGE.here, folder=CHECKOUT, timeout=1800).must_succeed()
    expect("6,000,000 of 6,000,000 rows written" in answer.output, f"its last lines: {answer.tail}")
    rows = stores.table_rows(lab, "moderation.large_training_data")
    expect(rows == _ROWS, f"{rows} rows")
    again = run("bash", "-c", _LARGE.here, folder=CHECKOUT, timeout=300).must_succeed()
    expect("has these 6,000,000 rows already" in again.output, f"the second run: {again.tail}")
    return f"{rows} rows in {answer.seconds:.0f} s ({rows / answer.seconds:,.0f} rows/s); again: {again.seconds:.0f} s"


def _server(lab: Lab) -> str:
    """Start the notebook's server with the limit, in the background, and read its address."""
    # The rehearsal's volumes have its own project in their names.
    command = _SERVER.here.replace("gourmetgram_model_keys", f"{PROJECT}_model_keys")
    with _LOG.open("w") as log:
        subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=CHECKOUT, stdout=log, stderr=log)

    def probe() -> re.Match[str]:
        found = re.search(r"(http://127\.0\.0\.1:8888)/tree\?token=(\w+)", _LOG.read_text())
        expect(found, f"no address with a token: {_LOG.read_text()[-500:]}")
        assert found is not None
        return found

    found = until(probe, 120)
    lab.notes["trainer"], lab.notes["trainer_token"] = found.group(1), found.group(2)
    limit = check("docker", "inspect", "--format", "{{.HostConfig.Memory}}", _container())
    expect(limit == str(2**30), f"memory limit {limit}")
    return f"{found.group(1)}/tree?token=…, memory limit {limit} bytes"


def _container() -> str:
    """Id of the trainer's container: the one of this image on the machine's own network."""
    words = ("--filter", f"ancestor={_IMAGE}", "--filter", "network=host")
    found = check("docker", "ps", "-q", *words).split()
    expect(len(found) == 1, f"containers of {_IMAGE} on the machine's network: {found}")
    return found[0]


def _demonstration(lab: Lab) -> str:
    """Scenarios 1 to 3, cell by cell, in the order of the text."""
    server = JupyterServer(lab.notes["trainer"], lab.notes["trainer_token"])
    cells = [source(cell) for cell in server.code_cells(_DEMONSTRATION)]
    fatal = next(number for number, cell in enumerate(cells) if "large_training_data" in cell)
    with server.open(_DEMONSTRATION) as kernel:
        first = "".join(kernel.run(cell) for cell in cells[:fatal])
        expect("LogisticRegression fitted on" in first, f"scenario 1 printed {first}")
        death = _killed(server, kernel, cells[fatal])
        verdict = kernel.run(cells[fatal + 1]).strip()
        expect("killed at the limit so far: 1 " in verdict, f"after the death: {verdict}")
        kernel.run(cells[0])
        flat = _streamed(kernel, cells[fatal + 2 : -1])
        saved = kernel.run(cells[-1])
        expect(saved.count("_demo.joblib") == 3, f"saved: {saved}")
        killed = kernel.run("print(MemoryGroup.find().killed)").strip()
        expect(killed == "1", f"processes killed in the end: {killed}")
    return f"{first.splitlines()[-1]}\n{death}; the server answers\n{verdict}\n{flat}"


def _killed(server: JupyterServer, kernel: Kernel, cell: str) -> str:
    """Run the cell that must kill its kernel; the server and its container live on."""
    begun = _started_at()
    try:
        survived = kernel.run(cell, deadline_s=600)
    except KernelDiedError as error:
        server.call("GET", "status")
        expect(_started_at() == begun, "the container was started again")
        return str(error)
    raise NotSeenError(f"the full load was not killed: {survived}")


def _started_at() -> str:
    return check("docker", "inspect", "--format", "{{.State.StartedAt}}", _container())


def _streamed(kernel: Kernel, cells: list[str]) -> str:
    """Run scenario 3; its memory stays below the limit and does not grow."""
    text = "".join(kernel.run(cell, deadline_s=600) for cell in cells)
    expect(f"{_ROWS:,} rows in " in text, f"scenario 3 printed {text[-300:]}")
    curve = json.loads(kernel.run("import json; print(json.dumps(curve.summary()))"))
    expect(curve["limit_mb"] == _LIMIT_MB, f"limit {curve['limit_mb']} MB")
    expect(curve["highest_mb"] < _LIMIT_MB, f"highest use {curve['highest_mb']} MB")
    expect(curve["growth_mb"] < _FLAT_MB, f"grew by {curve['growth_mb']} MB")
    return f"streamed {_ROWS:,} rows: at most {curve['highest_mb']:.0f} MB, growth {curve['growth_mb']:+.0f} MB"


def _saved(_lab: Lab) -> str:
    names = sorted(path.name for path in (CHECKOUT / "models").glob("*_demo.joblib"))
    expect(len(names) == 3, f"models/ has {names}")
    return ", ".join(names)


def _real_data(lab: Lab) -> str:
    server = JupyterServer(lab.notes["trainer"], lab.notes["trainer_token"])
    with server.open("training.ipynb") as kernel:
        printed = [kernel.run(source(cell), deadline_s=600) for cell in server.code_cells("training.ipynb")]
    text, last = "".join(printed), printed[-1].split()
    expect("Training from Iceberg snapshot: " in text, "the snapshot is not printed")
    expect(len([word for word in last if word.startswith("models/moderation/")]) >= 4, f"the last cell printed {last}")
    prefix = "models/moderation/"
    keys = {key.removeprefix(prefix) for key in stores.objects(lab, "gourmetgram-datalake", prefix)}
    wanted = {"model.joblib", "scaler.joblib", "encoder.joblib", "metadata.json"}
    expect(wanted <= keys, f"under {prefix}: {sorted(keys)}")
    return f"{len(printed)} cells; {', '.join(sorted(wanted))} under {prefix}"


def _end(_lab: Lab) -> str:
    container = _container()
    run("docker", "stop", "--time", "20", container)
    with suppress(FileNotFoundError):
        lines = Path(_LOG).read_text().splitlines()
        return next((line for line in lines if "restarting kernel" in line), "stopped")
    return "stopped"


def _stopped(lab: Lab) -> str:
    lab.do(_STOP.compose)
    return "port 8888 is free"


STEPS: Final = (
    _build(_FROM_ROOT),
    _build(_FROM_INSIDE),
    LabStep(_LARGE.text, "6,000,000 rows; a second run leaves them", _large, needed=True, typed=(_LARGE,)),
    LabStep(_STOP.short, "stopped", _stopped, typed=(_STOP,)),
    LabStep(_SERVER.text, "the address; a limit of 1 GB", _server, needed=True, typed=(_SERVER,)),
    LabStep(_DEMONSTRATION, "scenario 2 killed at the limit, scenario 3 flat below it", _demonstration),
    LabStep("ls models/", "three files of scenario 3", _saved),
    LabStep("training.ipynb in the same container", "the four files under models/moderation/", _real_data),
    LabStep("docker stop (the trainer)", "stopped; its log has the kernel's death", _end),
)
