"""The doctor: what it says of machines that are well, and of those that are not."""

import os
import re
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from gourmetgram.settings import PROJECT_ROOT
from gourmetgram_tools.cli.main import app
from gourmetgram_tools.compose.file import ForeignImage, foreign_images
from gourmetgram_tools.compose.jupyter import running_token, token_in
from gourmetgram_tools.compose.pages import compose_pages
from gourmetgram_tools.compose.ports import PublishedPort
from gourmetgram_tools.compose.settings import ComposeSettings
from gourmetgram_tools.doctor import configuration, docker, machine
from gourmetgram_tools.doctor.findings import Finding, Level, ok, problem
from gourmetgram_tools.doctor.images import check_images
from gourmetgram_tools.doctor.ports import check_ports

LAB = ComposeSettings(ui_bind="127.0.0.1")
GB = 10**9

PutProgram = Callable[[str, str], None]


@pytest.fixture(name="listening")
def listening_fixture() -> Iterator[int]:
    """A socket of this process that holds a port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


@pytest.fixture(name="program")
def program_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PutProgram:
    """Puts a program in front of the PATH that answers as given: its failures cannot be had from a real one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def put(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return put


@pytest.fixture(name="nothing_installed")
def nothing_installed_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH without any program."""
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_port_held_by_another_program_is_a_problem_that_names_it(listening: int) -> None:
    (finding,) = check_ports([PublishedPort(listening, ("adminer",), is_page=True)], LAB, {})
    assert finding.level is Level.PROBLEM
    assert f"(process {os.getpid()})" in finding.seen
    assert "adminer" in finding.seen
    assert f"kill {os.getpid()}" in finding.advice


def test_a_port_held_by_the_lab_s_own_container_is_well(listening: int) -> None:
    port = PublishedPort(listening, ("api-v1", "api-v2"), is_page=True)
    (finding,) = check_ports([port], LAB, {listening: "api-v2"})
    assert finding.level is Level.OK
    assert "1 of the lab's ports" in finding.seen


def test_a_port_held_by_another_container_is_a_problem_that_says_how_to_stop_it(listening: int) -> None:
    (finding,) = check_ports([PublishedPort(listening, ("postgres",), is_page=False)], LAB, {listening: "somebody"})
    assert finding.level is Level.PROBLEM
    assert "docker stop somebody" in finding.advice


def test_free_ports_are_well(listening: int) -> None:
    (finding,) = check_ports([PublishedPort(_free_port(), ("redis",), is_page=False)], LAB, {})
    assert (finding.level, finding.advice) == (Level.OK, "")


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def test_the_ports_of_a_container_are_read_with_ranges_and_both_address_families() -> None:
    listing = (
        "minio\t127.0.0.1:9000->9000/tcp, 0.0.0.0:9001->9001/tcp\n"
        "range\t0.0.0.0:7000-7002->7000-7002/tcp, [::]:7000-7002->7000-7002/tcp\n"
        "inner\t8080/tcp\n"
    )
    holders = docker.published_by(listing)
    assert holders == {9000: "minio", 9001: "minio", 7000: "range", 7001: "range", 7002: "range"}


def test_without_docker_the_advice_is_to_install_it(nothing_installed: None) -> None:
    for finding in (docker.check_engine(), docker.check_compose()):
        assert finding.level is Level.PROBLEM
        assert "scripts/setup.sh" in finding.advice
    assert docker.check_compose_file(PROJECT_ROOT / "docker" / "docker-compose.yaml").level is Level.PROBLEM
    assert docker.running_containers() == {}
    assert running_token() == ""


def test_docker_that_refuses_this_user_is_told_from_docker_that_does_not_run(program: PutProgram) -> None:
    program("docker", "echo 'Got permission denied while trying to connect to the Docker daemon socket' >&2; exit 1")
    assert "usermod -aG docker" in docker.check_engine().advice
    program("docker", "echo 'Cannot connect to the Docker daemon. Is the docker daemon running?' >&2; exit 1")
    finding = docker.check_engine()
    assert "Is the docker daemon running?" in finding.seen
    assert "systemctl start docker" in finding.advice


@pytest.mark.parametrize(
    ("answer", "level"),
    [("2.26.1-4", Level.OK), ("v2.23.3", Level.PROBLEM), ("v5.1.1", Level.OK), ("?", Level.PROBLEM)],
)
def test_compose_must_be_new_enough(program: PutProgram, answer: str, level: Level) -> None:
    program("docker", f"echo '{answer}'")
    assert docker.check_compose().level is level


def test_a_compose_file_that_cannot_be_read_is_shown_with_the_reason(program: PutProgram, tmp_path: Path) -> None:
    program("docker", "echo 'yaml: line 3: did not find expected key' >&2; exit 15")
    finding = docker.check_compose_file(tmp_path / "docker-compose.yaml")
    assert finding.level is Level.PROBLEM
    assert "line 3" in finding.seen


@pytest.mark.parametrize(("gigabytes", "level"), [(4, Level.PROBLEM), (8, Level.WARNING), (16.8, Level.OK)])
def test_memory_is_judged_by_what_the_lab_needs(gigabytes: float, level: Level) -> None:
    finding = machine.check_memory(gigabytes * GB)
    assert finding.level is level
    assert bool(finding.advice) == (level is not Level.OK)


@pytest.mark.parametrize(("gigabytes", "level"), [(2, Level.PROBLEM), (12, Level.WARNING), (60, Level.OK)])
def test_disk_is_judged_by_what_the_lab_needs(tmp_path: Path, gigabytes: int, level: Level) -> None:
    assert machine.check_disk(tmp_path, gigabytes * GB).level is level


def test_this_machine_s_own_memory_and_disk_can_be_read(nothing_installed: None) -> None:
    assert "GB" in machine.check_memory().seen
    assert "GB free in /" in machine.check_disk().seen


def test_a_clock_older_than_the_checkout_is_behind(nothing_installed: None) -> None:
    finding = machine.check_clock(PROJECT_ROOT, "http://127.0.0.1:1/", now=0.0)
    assert finding.level is Level.PROBLEM
    assert "set-ntp" in finding.advice


def test_a_clock_apart_from_the_containers_is_a_problem(nothing_installed: None, clock_server: tuple[str, int]) -> None:
    url, server_time = clock_server
    assert machine.check_clock(PROJECT_ROOT, url, now=server_time + 1).level is Level.OK
    finding = machine.check_clock(PROJECT_ROOT, url, now=server_time + 90)
    assert finding.level is Level.PROBLEM
    assert "90 s apart" in finding.seen


@pytest.fixture(name="clock_server")
def clock_server_fixture() -> Iterator[tuple[str, int]]:
    """An HTTP server whose clock stands in the year 2096."""
    moment = 4_000_000_000

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(moment)

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", moment
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("said", "level"), [("no", Level.WARNING), ("yes", Level.OK)])
def test_the_system_is_asked_whether_its_clock_is_synchronised(program: PutProgram, said: str, level: Level) -> None:
    program("timedatectl", f"echo {said}")
    assert machine.check_clock(PROJECT_ROOT, "http://127.0.0.1:1/").level is level


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Path:
    """The lab's docker folder without a .env."""
    for name in (".env.example", "docker-compose.yaml"):
        (tmp_path / name).write_text((PROJECT_ROOT / "docker" / name).read_text())
    return tmp_path


def test_a_missing_env_file_is_a_warning_only(folder: Path) -> None:
    (finding,) = configuration.check_env_file(folder, ComposeSettings())
    assert finding.level is Level.WARNING
    assert "cp docker/.env.example docker/.env" in finding.advice


def test_an_own_env_file_is_well(folder: Path) -> None:
    (folder / ".env").write_text("AIRFLOW_ADMIN_PASSWORD=own\nINFERENCE_MODE=model\nCOMPOSE_PROFILES=training\n")
    (folder / ".env").chmod(0o600)
    (finding,) = configuration.check_env_file(folder, ComposeSettings.of(folder / ".env"))
    assert finding.level is Level.OK


def test_own_passwords_that_other_users_of_the_machine_can_read_are_named(folder: Path) -> None:
    (folder / ".env").write_text("AIRFLOW_ADMIN_PASSWORD=own\nMINIO_ROOT_PASSWORD=gourmetgram_minio\n")
    (folder / ".env").chmod(0o644)
    (finding,) = configuration.check_env_file(folder, ComposeSettings.of(folder / ".env"))
    assert finding.level is Level.WARNING
    assert finding.seen == "Other users of this machine can read AIRFLOW_ADMIN_PASSWORD in docker/.env."
    assert "chmod 600" in finding.advice


def test_misspelt_names_and_breaking_passwords_are_found(folder: Path) -> None:
    (folder / ".env").write_text("UI_BIND=127.0.0.1\nINFERENCE_MODEL=model\nPOSTGRES_PASSWORD='a@b'\n")
    (folder / ".env").chmod(0o600)
    findings = configuration.check_env_file(folder, ComposeSettings.of(folder / ".env"))
    assert [finding.level for finding in findings] == [Level.PROBLEM, Level.WARNING]
    assert "POSTGRES_PASSWORD" in findings[0].seen
    assert "a@b" not in findings[0].seen
    assert "INFERENCE_MODEL" in findings[1].seen


def test_the_lab_s_pages_are_well(folder: Path) -> None:
    (finding,) = _pages(folder)
    assert finding.level is Level.OK


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "server:",
            "admin:\n        username: admin\n      server:",
            "admin is unknown to Nimtable, whose server ends.",
        ),
        ("  host:", "  hots:", "server.host is missing."),
        ("database:", "databases:", "The section database is missing."),
        ("server:", "catalogs:\n      - name: gourmetgram\n      server:", '"Connect Catalog" is refused'),
        ("server:", "server", "The settings cannot be read"),
    ],
)
def test_a_key_that_ends_nimtable_s_server_or_spoils_the_lab_is_found(
    folder: Path, old: str, new: str, sentence: str
) -> None:
    file = folder / "docker-compose.yaml"
    before, start, settings = file.read_text().partition("    content: |\n")
    file.write_text(before + start + settings.replace(old, new, 1))
    assert any(sentence in finding.seen and finding.level is Level.PROBLEM for finding in _pages(folder))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("SCHEMAREGISTRY_URLS", "KAFKA_SCHEMAREGISTRY_URLS", "redpanda-console: KAFKA_SCHEMAREGISTRY_URLS is no"),
        ("RI_REDIS_HOST", "REDIS_HOSTS", "redisinsight: RI_REDIS_HOST is missing."),
        ("ADMIN_USERNAME", "ADMIN_USER", "nimtable-web: ADMIN_USERNAME is missing."),
    ],
)
def test_a_variable_that_a_page_does_not_know_is_found(folder: Path, old: str, new: str, sentence: str) -> None:
    file = folder / "docker-compose.yaml"
    file.write_text(file.read_text().replace(f"      {old}:", f"      {new}:"))
    assert any(sentence in finding.seen and finding.level is Level.PROBLEM for finding in _pages(folder))


def _pages(folder: Path) -> list[Finding]:
    return configuration.check_pages(folder / "docker-compose.yaml")


IMAGES = [
    ForeignImage("adminer:5.4.2", "ADMINER_IMAGE", ("adminer",)),
    ForeignImage("docker.redpanda.com/redpandadata/console:v3.5.2", "CONSOLE_IMAGE", ("redpanda-console",)),
    ForeignImage("ghcr.io/nimtable/nimtable:nightly-0a1b", "NIMTABLE_TAG", ("nimtable",)),
]
ENGINE = ok("Docker", "Docker Engine 29 answers.")


def test_an_image_on_this_machine_needs_no_registry(program: PutProgram) -> None:
    program("docker", '[ "$1 $2" = "image inspect" ] && echo sha256:0a1b')
    assert {finding.seen for finding in check_images(IMAGES, ENGINE)} == {"It is on this machine."}


def test_an_image_at_its_registry_is_well(program: PutProgram) -> None:
    program("docker", '[ "$1 $2" = "manifest inspect" ] && echo "{}"')
    findings = check_images(IMAGES, ENGINE)
    assert [finding.check for finding in findings] == [f"Image {image.name}" for image in IMAGES]
    assert {(finding.level, finding.seen) for finding in findings} == {(Level.OK, "Its registry has it.")}


@pytest.mark.parametrize(
    "said",
    [
        "no such manifest: docker.io/library/adminer:5.4.2",
        "manifest unknown: manifest unknown",
        "name unknown",
        "denied",
        "errors:\\nunauthorized\\ndenied",
        "errors:\\ndenied: requested access to the resource is denied\\nunauthorized: authentication required",
        "pull access denied for minio/minio, repository does not exist or may require docker login",
        "unauthorized: access to the requested resource is not authorized",
        "error parsing HTTP 404 response body: unexpected end of JSON input",
        "docker.io/library/adminer:5.4.2: not found",
    ],
)
def test_a_gone_image_is_a_problem_that_names_the_variable_and_a_value(program: PutProgram, said: str) -> None:
    program("docker", f"[ $1 = manifest ] && printf '{said}' >&2; exit 1")
    findings = check_images(IMAGES, ENGINE)
    assert {finding.level for finding in findings} == {Level.PROBLEM}
    assert said.rpartition("\\n")[2] in findings[0].seen
    assert "ADMINER_IMAGE=public.ecr.aws/docker/library/adminer:5.4.2" in findings[0].advice
    assert "CONSOLE_IMAGE=redpandadata/console:v3.5.2" in findings[1].advice
    assert "NIMTABLE_TAG=nightly;" in findings[2].advice


@pytest.mark.parametrize(
    "said",
    [
        "toomanyrequests: You have reached your unauthenticated pull rate limit.",
        "dial tcp: lookup registry-1.docker.io: no such host",
        "net/http: TLS handshake timeout",
        "denied: requested access to the resource is denied, unauthorized: access token has insufficient scopes",
        "unauthorized: incorrect username or password",
        "received unexpected HTTP status: 503 Service Unavailable",
        'error getting credentials - err: exec: "docker-credential-desktop": executable file not found in $PATH',
    ],
)
def test_a_registry_that_refuses_or_is_away_does_not_make_an_image_gone(program: PutProgram, said: str) -> None:
    program("docker", f"[ $1 = manifest ] && echo '{said}' >&2; exit 1")
    findings = check_images(IMAGES, ENGINE)
    assert {finding.level for finding in findings} == {Level.WARNING}
    assert said in findings[0].seen
    assert "network" in findings[0].advice


def test_all_images_are_asked_for_at_once(program: PutProgram, tmp_path: Path) -> None:
    # Each call waits until all have come: one after the other they would wait for ever.
    program(
        "docker",
        f"""[ $1 = manifest ] || exit 1
        touch "{tmp_path}/asked-$(echo $3 | tr / _)"
        until [ $(ls {tmp_path} | grep -c asked-) -eq {len(IMAGES)} ]; do sleep 0.02; done""",
    )
    assert {finding.seen for finding in check_images(IMAGES, ENGINE)} == {"Its registry has it."}


def test_a_registry_without_an_answer_is_given_up(program: PutProgram) -> None:
    program("docker", "[ $1 = manifest ] || exit 1; exec sleep 600")
    findings = check_images(IMAGES, ENGINE, within_s=2)
    assert {finding.level for finding in findings} == {Level.WARNING}
    assert all(re.search(r"no answer (within [0-2] s|in time)$", finding.seen) for finding in findings)


def test_an_image_without_a_variable_is_changed_in_the_compose_file(program: PutProgram) -> None:
    program("docker", "echo 'no such manifest' >&2; exit 1")
    (finding,) = check_images([ForeignImage("own/thing:1", "", ("one", "two"))], ENGINE)
    assert "the image of one, two in docker/docker-compose.yaml" in finding.advice


def test_without_docker_images_are_one_finding() -> None:
    (finding,) = check_images(IMAGES, problem("Docker", "The command `docker` is not installed.", "Install it."))
    assert finding.level is Level.WARNING
    assert "No image was looked for" in finding.seen


def test_the_images_of_others_are_those_of_the_settings_and_no_own_ones() -> None:
    file = PROJECT_ROOT / "docker" / "docker-compose.yaml"
    images = {
        image.name: image for image in foreign_images(file, {"REDIS_IMAGE": "mirror/redis:7", "CONSOLE_IMAGE": ""})
    }
    assert images["mirror/redis:7"].variable == "REDIS_IMAGE"
    assert images["docker.redpanda.com/redpandadata/console:v3.5.2"].services == ("redpanda-console",)
    python = images["python:3.11.10-slim-bookworm"]
    assert python.variable == "PYTHON_IMAGE"
    assert {"extract-data", "api_v2", "airflow-scheduler"} <= set(python.services)
    assert images["quay.io/jupyter/scipy-notebook:python-3.11.10"].services == ("jupyter",)
    assert not any(name.startswith("gourmetgram-") for name in images)


def test_the_command_ends_with_1_and_json_when_there_are_problems(nothing_installed: None) -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    assert '"check": "Docker"' in result.stdout
    text = CliRunner().invoke(app, ["doctor"])
    assert text.exit_code == 1
    assert "scripts/setup.sh" in text.stdout


def test_every_page_is_listed_with_its_login() -> None:
    pages = {page.title.partition(":")[0]: page for page in compose_pages(ComposeSettings(), "10.1.2.3", "abc")}
    assert pages["Adminer"].url == "http://10.1.2.3:5050"
    assert "user / gourmetgram_postgres" in pages["Adminer"].login
    assert pages["MinIO console"].login == "admin / gourmetgram_minio"
    assert pages["Airflow"].login == "admin / gourmetgram_airflow"
    assert pages["Nimtable"].login == "admin / gourmetgram_nimtable"
    assert pages["Jupyter"].url == "http://10.1.2.3:8888/tree?token=abc"
    # Its port is not open to other machines, whatever their name for this one.
    assert pages["MLflow"].url == "http://localhost:5000"
    assert "ssh -L 5000:localhost:5000" in pages["MLflow"].login


def test_jupyter_s_token_is_found_in_its_list_of_servers() -> None:
    assert token_in("Currently running servers:\nhttp://localhost:8888/?token=0a1b :: /home/jovyan/work\n") == "0a1b"
    assert token_in("Currently running servers:\n") == ""


def test_without_a_token_the_command_that_shows_it_is_named() -> None:
    pages = compose_pages(ComposeSettings(), "localhost")
    (page,) = (each for each in pages if each.title.startswith("Jupyter"))
    assert page.url == "http://localhost:8888/tree"
    assert "jupyter server list" in page.login
