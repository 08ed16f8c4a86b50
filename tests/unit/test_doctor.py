"""The doctor: what it says of machines that are well, and of those that are not."""

import os
import socket
import stat
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from gourmetgram.cli.main import app
from gourmetgram.compose.jupyter import running_token, token_in
from gourmetgram.compose.pages import compose_pages
from gourmetgram.compose.ports import PublishedPort
from gourmetgram.compose.settings import ComposeSettings
from gourmetgram.doctor import configuration, docker, machine
from gourmetgram.doctor.findings import Level
from gourmetgram.doctor.ports import check_ports
from gourmetgram.settings import PROJECT_ROOT

LAB = ComposeSettings(ui_bind="127.0.0.1")
GB = 10**9


@pytest.fixture(name="listening")
def listening_fixture():
    """A socket of this process that holds a port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


@pytest.fixture(name="program")
def program_fixture(tmp_path, monkeypatch):
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
def nothing_installed_fixture(tmp_path, monkeypatch):
    """A PATH without any program."""
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_port_held_by_another_program_is_a_problem_that_names_it(listening):
    (finding,) = check_ports([PublishedPort(listening, ("adminer",), is_page=True)], LAB, {})
    assert finding.level is Level.PROBLEM
    assert f"(process {os.getpid()})" in finding.seen
    assert "adminer" in finding.seen
    assert f"kill {os.getpid()}" in finding.advice


def test_a_port_held_by_the_lab_s_own_container_is_well(listening):
    port = PublishedPort(listening, ("api-v1", "api-v2"), is_page=True)
    (finding,) = check_ports([port], LAB, {listening: "api-v2"})
    assert finding.level is Level.OK
    assert "1 of the lab's ports" in finding.seen


def test_a_port_held_by_another_container_is_a_problem_that_says_how_to_stop_it(listening):
    (finding,) = check_ports([PublishedPort(listening, ("postgres",), is_page=False)], LAB, {listening: "somebody"})
    assert finding.level is Level.PROBLEM
    assert "docker stop somebody" in finding.advice


def test_free_ports_are_well(listening):
    (finding,) = check_ports([PublishedPort(_free_port(), ("redis",), is_page=False)], LAB, {})
    assert (finding.level, finding.advice) == (Level.OK, "")


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return server.getsockname()[1]


def test_the_ports_of_a_container_are_read_with_ranges_and_both_address_families():
    listing = (
        "minio\t127.0.0.1:9000->9000/tcp, 0.0.0.0:9001->9001/tcp\n"
        "range\t0.0.0.0:7000-7002->7000-7002/tcp, [::]:7000-7002->7000-7002/tcp\n"
        "inner\t8080/tcp\n"
    )
    holders = docker.published_by(listing)
    assert holders == {9000: "minio", 9001: "minio", 7000: "range", 7001: "range", 7002: "range"}


def test_without_docker_the_advice_is_to_install_it(nothing_installed):
    for finding in (docker.check_engine(), docker.check_compose()):
        assert finding.level is Level.PROBLEM
        assert "scripts/setup.sh" in finding.advice
    assert docker.check_compose_file(PROJECT_ROOT / "docker" / "docker-compose.yaml").level is Level.PROBLEM
    assert docker.running_containers() == {}
    assert running_token() == ""


def test_docker_that_refuses_this_user_is_told_from_docker_that_does_not_run(program):
    program("docker", "echo 'Got permission denied while trying to connect to the Docker daemon socket' >&2; exit 1")
    assert "usermod -aG docker" in docker.check_engine().advice
    program("docker", "echo 'Cannot connect to the Docker daemon. Is the docker daemon running?' >&2; exit 1")
    finding = docker.check_engine()
    assert "Is the docker daemon running?" in finding.seen
    assert "systemctl start docker" in finding.advice


@pytest.mark.parametrize(
    ("answer", "level"),
    [("2.26.1-4", Level.OK), ("v2.19.1", Level.PROBLEM), ("v5.1.1", Level.OK), ("?", Level.PROBLEM)],
)
def test_compose_must_be_new_enough(program, answer, level):
    program("docker", f"echo '{answer}'")
    assert docker.check_compose().level is level


def test_a_compose_file_that_cannot_be_read_is_shown_with_the_reason(program, tmp_path):
    program("docker", "echo 'yaml: line 3: did not find expected key' >&2; exit 15")
    finding = docker.check_compose_file(tmp_path / "docker-compose.yaml")
    assert finding.level is Level.PROBLEM
    assert "line 3" in finding.seen


@pytest.mark.parametrize(("gigabytes", "level"), [(4, Level.PROBLEM), (8, Level.WARNING), (16.8, Level.OK)])
def test_memory_is_judged_by_what_the_lab_needs(gigabytes, level):
    finding = machine.check_memory(gigabytes * GB)
    assert finding.level is level
    assert bool(finding.advice) == (level is not Level.OK)


@pytest.mark.parametrize(("gigabytes", "level"), [(2, Level.PROBLEM), (12, Level.WARNING), (60, Level.OK)])
def test_disk_is_judged_by_what_the_lab_needs(tmp_path, gigabytes, level):
    assert machine.check_disk(tmp_path, gigabytes * GB).level is level


def test_this_machine_s_own_memory_and_disk_can_be_read(nothing_installed):
    assert "GB" in machine.check_memory().seen
    assert "GB free in /" in machine.check_disk().seen


def test_a_clock_older_than_the_checkout_is_behind(nothing_installed):
    finding = machine.check_clock(PROJECT_ROOT, "http://127.0.0.1:1/", now=0.0)
    assert finding.level is Level.PROBLEM
    assert "set-ntp" in finding.advice


def test_a_clock_apart_from_the_containers_is_a_problem(nothing_installed, clock_server):
    url, server_time = clock_server
    assert machine.check_clock(PROJECT_ROOT, url, now=server_time + 1).level is Level.OK
    finding = machine.check_clock(PROJECT_ROOT, url, now=server_time + 90)
    assert finding.level is Level.PROBLEM
    assert "90 s apart" in finding.seen


@pytest.fixture(name="clock_server")
def clock_server_fixture():
    """An HTTP server whose clock stands in the year 2096."""
    moment = 4_000_000_000

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def date_time_string(self, timestamp=None):
            return super().date_time_string(moment)

        def log_message(self, *_):
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", moment
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("said", "level"), [("no", Level.WARNING), ("yes", Level.OK)])
def test_the_system_is_asked_whether_its_clock_is_synchronised(program, said, level):
    program("timedatectl", f"echo {said}")
    assert machine.check_clock(PROJECT_ROOT, "http://127.0.0.1:1/").level is level


@pytest.fixture(name="folder")
def folder_fixture(tmp_path) -> Path:
    """The lab's docker folder without a .env."""
    for name in (".env.example", "nimtable-config.yaml"):
        (tmp_path / name).write_text((PROJECT_ROOT / "docker" / name).read_text())
    return tmp_path


def test_a_missing_env_file_is_a_warning_only(folder):
    (finding,) = configuration.check_env_file(folder, ComposeSettings())
    assert finding.level is Level.WARNING
    assert "cp docker/.env.example docker/.env" in finding.advice


def test_an_own_env_file_is_well(folder):
    (folder / ".env").write_text("AIRFLOW_ADMIN_PASSWORD=own\nINFERENCE_MODE=model\nCOMPOSE_PROFILES=training\n")
    (finding,) = configuration.check_env_file(folder, ComposeSettings.of(folder / ".env"))
    assert finding.level is Level.OK


def test_misspelt_names_and_breaking_passwords_are_found(folder):
    (folder / ".env").write_text("UI_BIND=127.0.0.1\nINFERENCE_MODEL=model\nPOSTGRES_PASSWORD='a@b'\n")
    findings = configuration.check_env_file(folder, ComposeSettings.of(folder / ".env"))
    assert [finding.level for finding in findings] == [Level.PROBLEM, Level.WARNING]
    assert "POSTGRES_PASSWORD" in findings[0].seen
    assert "a@b" not in findings[0].seen
    assert "INFERENCE_MODEL" in findings[1].seen


def test_nimtable_s_file_must_have_the_passwords_of_the_env_file(folder):
    file = folder / "nimtable-config.yaml"
    assert configuration.check_nimtable(file, ComposeSettings()).level is Level.OK
    finding = configuration.check_nimtable(file, ComposeSettings(minio_root_password="other"))
    assert finding.level is Level.PROBLEM
    assert "MINIO_ROOT_PASSWORD" in finding.seen
    file.write_text("catalogs: []\n")
    assert configuration.check_nimtable(file, ComposeSettings()).level is Level.PROBLEM


def test_the_command_ends_with_1_and_json_when_there_are_problems(nothing_installed):
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    assert '"check": "Docker"' in result.stdout
    text = CliRunner().invoke(app, ["doctor"])
    assert text.exit_code == 1
    assert "scripts/setup.sh" in text.stdout


def test_every_page_is_listed_with_its_login():
    pages = {page.title.partition(":")[0]: page for page in compose_pages(ComposeSettings(), "10.1.2.3", "abc")}
    assert pages["Adminer"].url == "http://10.1.2.3:5050"
    assert "user / gourmetgram_postgres" in pages["Adminer"].login
    assert pages["MinIO console"].login == "admin / gourmetgram_minio"
    assert pages["Airflow"].login == "admin / gourmetgram_airflow"
    assert pages["Nimtable"].login == "admin / gourmetgram_nimtable"
    assert pages["Jupyter"].url == "http://10.1.2.3:8888/tree?token=abc"


def test_jupyter_s_token_is_found_in_its_list_of_servers():
    assert token_in("Currently running servers:\nhttp://localhost:8888/?token=0a1b :: /home/jovyan/work\n") == "0a1b"
    assert token_in("Currently running servers:\n") == ""


def test_without_a_token_the_command_that_shows_it_is_named():
    page = compose_pages(ComposeSettings(), "localhost")[-1]
    assert page.url == "http://localhost:8888/tree"
    assert "jupyter server list" in page.login
