"""Checks before and after the walk: the configuration, every container, the platform's own audit and trace."""

import json
import re
import sys
from pathlib import Path

from tests.lab import stores
from tests.lab.commands import check, run
from tests.lab.expectations import expect
from tests.lab.lab import Lab
from tests.lab.steps import LabStep, Stage

_GOURMETGRAM = Path(sys.executable).with_name("gourmetgram")
_PAGES = {"8000", "9001", "5050", "8090", "8081", "8080", "3000", "8888"}


def audit(lab: Lab) -> str:
    """Compare all stores while no traffic flows.

    Raises:
        NotSeenError: the stores differ.
    """
    lab.do("stop data_generator")
    words = ("audit", "--target", "compose", "--deadline", "90")
    answer = run(_GOURMETGRAM, *words, timeout=300, environment=lab.login()).must_succeed()
    return answer.stdout.splitlines()[-1]


def _trace(lab: Lab) -> str:
    words = ("trace", lab.notes["image"], "--target", "compose", "--json")
    document = run(_GOURMETGRAM, *words, environment=lab.login()).must_succeed().stdout
    json.loads(document)
    kinds = {kind: document.count(f'"{kind}"') for kind in ("viral", "flagged")}
    expect(all(kinds.values()), f"the trace names {kinds}")
    return f"one JSON document of {len(document)} characters with both requests and decisions"


def _users(lab: Lab) -> str:
    seen = {}
    for name, service in lab.services.items():
        if "build" in service and lab.state(name) in ("healthy", "running"):
            command = ("docker", "exec", lab.container(name), "sh", "-c", "id -u; grep CapEff /proc/1/status")
            user, _, powers = check(*command).partition("\n")
            # MinIO's volume may be one that the official image has written, as root.
            powerless = name == "minio" and not int(powers.split()[-1], 16)
            seen[name] = "root without capabilities" if user == "0" and powerless else user
    root = [name for name, user in seen.items() if user == "0"]
    expect(seen and not root, f"as root: {root}; all: {seen}")
    return ", ".join(f"{name} {user}" for name, user in seen.items())


def _bindings(lab: Lab) -> str:
    bad = []
    for name, service in lab.services.items():
        for port in service.get("ports", ()):
            if port.get("host_ip", "") != ("0.0.0.0" if port["published"] in _PAGES else "127.0.0.1"):
                bad.append(f"{name} {port}")
    expect(not bad, f"bound elsewhere: {bad}")
    return f"pages on 0.0.0.0: {', '.join(sorted(_PAGES))}; all other ports on 127.0.0.1"


def _clean(lab: Lab) -> str:
    answer = lab.compose("config --quiet")
    expect(answer.code == 0 and not answer.output, answer.output)
    return "no warning"


def _pinned(lab: Lab) -> str:
    names = {service["image"] for service in lab.services.values() if "build" not in service}
    loose = [name for name in sorted(names) if not re.search(r":[^/]*\d|@sha256:", name)]
    expect(not loose, f"no exact version: {loose}")
    return f"{len(names)} images of others, each with a version"


def _restarts(lab: Lab) -> str:
    counts = {name: int(lab.inspect(name)["RestartCount"]) for name in lab.services if lab.state(name) != "absent"}
    again = {name: count for name, count in counts.items() if count}
    expect(not again, f"restarted by Docker: {again}")
    return f"none of {len(counts)} containers was restarted"


def _dead_letters(lab: Lab) -> str:
    letters = stores.messages("gourmetgram.dead_letter")
    expect(not letters, f"{len(letters)} dead letters, the first: {letters[:1]}")
    return "none"


STATIC = Stage(
    "config",
    "Configuration",
    (
        LabStep("DC config", "valid, without a warning", _clean),
        LabStep("DC config: ports", "pages on every address, data ports on 127.0.0.1", _bindings),
        LabStep("DC config: images", "an exact tag or digest each", _pinned),
    ),
)
AUDIT = Stage(
    "audit",
    "Audit and trace",
    (
        LabStep("docker exec … id -u", "no service of ours has root's powers", _users),
        LabStep("docker inspect: RestartCount", "0 for every container: healthy without a retry", _restarts),
        LabStep("gourmetgram audit --target compose", "no difference between the stores", audit),
        LabStep("gourmetgram trace IMAGE_ID --target compose", "the image's whole way", _trace),
        LabStep("gourmetgram.dead_letter", "no message", _dead_letters),
    ),
)
