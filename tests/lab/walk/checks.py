"""After the walk: the platform's own audit and trace, and what holds for every container."""

import json
import re

from tests.lab import shell, stores
from tests.lab.errors import expect
from tests.lab.lab import Lab
from tests.lab.steps import Stage, Step

_GOURMETGRAM = (".venv/bin/gourmetgram",)
# Root inside the container, as the official images are: not ours to change.
_OFFICIAL_ROOT = "images of others run as their publishers chose"


def audit(lab: Lab) -> str:
    """Compare all stores while no traffic flows; nothing may differ.

    Raises:
        NotSeenError: there are differences.
    """
    lab.do("stop data_generator")
    answer = shell.run(
        [*_GOURMETGRAM, "audit", "--target", "compose", "--deadline", "90"],
        timeout=300,
        environment=login(lab),
    )
    expect(answer.code == 0, f"exit code {answer.code}: {answer.output.strip()[-1200:]}")
    return answer.output.strip().splitlines()[-1]


def login(lab: Lab) -> dict[str, str]:
    """The lab's passwords as variables, so that a docker/.env of the working tree does not matter."""
    names = ("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD")
    return {name: lab.variable(name) for name in names}


def _trace(lab: Lab) -> str:
    image = lab.notes["image"]
    command = [*_GOURMETGRAM, "trace", image, "--target", "compose", "--json"]
    answer = shell.run(command, environment=login(lab))
    expect(answer.code == 0, answer.tail)
    json.loads(answer.output[answer.output.index("{") :])
    kinds = {kind: answer.output.count(f'"{kind}"') for kind in ("viral", "flagged")}
    expect(all(kinds.values()), f"the trace names {kinds}")
    return f"one JSON document of {len(answer.output)} characters with both requests and decisions"


def _users(lab: Lab) -> str:
    seen = {}
    for name, service in lab.services.items():
        if "build" in service and lab.state(name) in ("healthy", "running"):
            command = ["docker", "exec", lab.container(name), "sh", "-c", "id -u; grep CapEff /proc/1/status"]
            user, _, powers = shell.check(command).partition("\n")
            # MinIO's volume may be one that the official image has written, as root.
            powerless = name == "minio" and not int(powers.split()[-1], 16)
            seen[name] = "root without capabilities" if user == "0" and powerless else user
    root = [name for name, user in seen.items() if user == "0"]
    expect(seen and not root, f"as root: {root}; all: {seen}")
    return ", ".join(f"{name} {user}" for name, user in seen.items()) + f"; {_OFFICIAL_ROOT}"


def _bindings(lab: Lab) -> str:
    bad = []
    public = {"8000", "9001", "5050", "8090", "8081", "8080", "3000", "8888"}
    for name, service in lab.services.items():
        for port in service.get("ports", ()):
            where = port.get("host_ip", "")
            wanted = "0.0.0.0" if port["published"] in public else "127.0.0.1"
            if where != wanted:
                bad.append(f"{name} {where}:{port['published']}")
    expect(not bad, f"bound elsewhere: {bad}")
    return f"pages on 0.0.0.0: {', '.join(sorted(public))}; all other ports on 127.0.0.1"


def _clean(lab: Lab) -> str:
    answer = lab.compose("config --quiet")
    expect(answer.code == 0 and not answer.output.strip(), answer.output)
    return "no warning"


def _pinned(lab: Lab) -> str:
    names = {service["image"] for service in lab.services.values() if "build" not in service}
    loose = [name for name in sorted(names) if not re.search(r":[^/]*\d|@sha256:", name)]
    expect(not loose, f"no exact version: {loose}")
    return f"{len(names)} images of others, each with a version"


def _restarts(lab: Lab) -> str:
    counts = {}
    for name in lab.services:
        if lab.state(name) != "absent":
            counts[name] = int(lab.inspect(lab.container(name))["RestartCount"])
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
        Step("DC config", "valid, without a warning", _clean),
        Step("DC config: ports", "pages on every address, data ports on 127.0.0.1", _bindings),
        Step("DC config: images", "an exact tag or digest each", _pinned),
    ),
)
AUDIT = Stage(
    "audit",
    "Audit and trace",
    (
        Step("docker exec … id -u", "no service of ours has root's powers", _users),
        Step("docker inspect: RestartCount", "0 for every container: healthy without a retry", _restarts),
        Step("gourmetgram audit --target compose", "no difference between the stores", audit),
        Step("gourmetgram trace IMAGE_ID --target compose", "the image's whole way", _trace),
        Step("gourmetgram.dead_letter", "no message", _dead_letters),
    ),
)
