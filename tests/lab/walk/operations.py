"""Operation tests: acts of an administrator and accidents, after which the data must be there."""

import os
import signal
import time
from datetime import datetime

from gourmetgram import buckets
from tests.lab import stores
from tests.lab.book import compose
from tests.lab.commands import run
from tests.lab.expectations import expect, until
from tests.lab.lab import Lab
from tests.lab.standins import docker
from tests.lab.steps import LabStep, Stage, stop, up
from tests.lab.walk.checks import audit

_HEALTHY_S = 180.0
_CAUSES = ("password authentication failed", "access denied", "signature", "invalid")


def _running(lab: Lab) -> list[str]:
    """Services whose containers run."""
    return [name for name in lab.services if lab.state(name) in ("healthy", "running", "starting", "unhealthy")]


def _stored(lab: Lab) -> dict[str, int]:
    """Counts of each store."""
    counts = stores.counts(lab)
    counts |= {topic: len(stores.messages(topic)) for topic in stores.TOPICS}
    client = stores.redis_client()
    totals = [int(client.get(key)) for key in client.scan_iter("image:*:total_*", count=1000)]
    counts["redis totals"] = sum(totals)
    counts |= {bucket: len(stores.objects(lab, bucket)) for bucket in buckets.ALL}
    return counts


def _quiet(lab: Lab) -> None:
    """Stop the traffic, and wait until no event is in flight from the outbox."""
    lab.do("stop data_generator")
    until(lambda: stores.in_outbox(lab, 0), 60)


def _second_up(lab: Lab) -> str:
    lab.do("up -d data_generator")
    lab.wait_healthy(["data_generator"])
    answer = lab.compose("up -d data_generator").must_succeed()
    expect(answer.seconds < 5, f"it took {answer.seconds:.1f} s")
    # Compose starts finished jobs again with each `up`; they find their work done.
    seen = [f"{name} {_seconds_of_job(lab, name):.1f} s" for name in ("extract-data", "transform-data")]
    log = _last_run(lab, "extract-data")
    expect("nothing to download" in log, f"extract-data does not say that nothing is to be done: {log[:300]}")
    return f"{answer.seconds:.1f} s in all; the jobs saw that nothing is to be done: {', '.join(seen)}"


def _seconds_of_job(lab: Lab, job: str) -> float:
    """Duration of a finished job's last run."""
    state = lab.inspect(job)["State"]
    expect(state["Status"] == "exited" and state["ExitCode"] == 0, f"{job} is {lab.state(job)}")
    started, finished = (datetime.fromisoformat(state[name]) for name in ("StartedAt", "FinishedAt"))
    return (finished - started).total_seconds()


def _last_run(lab: Lab, job: str) -> str:
    """Log of a job's last run."""
    started = lab.inspect(job)["State"]["StartedAt"]
    return run("docker", "logs", "--since", started, lab.container(job)).output


def _wrong_password(service: str, variable: str) -> LabStep:
    def see(lab: Lab) -> str:
        answer = lab.compose(f"run --rm --no-deps {service}", timeout=180, environment={variable: "wrong-password"})
        expect(answer.code not in (0, None), f"it ended with code {answer.code}")
        lines = [line for line in answer.output.splitlines() if line.strip()]
        named = next((line for line in lines if any(cause in line.lower() for cause in _CAUSES)), None)
        expect(named, f"no line names the cause: {lines[-5:]}")
        return f"code {answer.code} after {answer.seconds:.1f} s: {(named or '').strip()[:200]}"

    return LabStep(f"{variable}=wrong-password DC run {service}", "fails, and says why", see)


def _both_apis(lab: Lab) -> str:
    answer = lab.compose("up -d api_v1")
    lab.do("rm -fs api_v1")
    expect(answer.code != 0, "api_v1 started beside api_v2")
    line = next((line for line in answer.output.splitlines() if "already" in line), "")
    expect(line, f"no line says that the port is taken: {answer.tail}")
    return f"{line.strip()[-160:]}; {lab.wait_healthy(['api_v2'])}"


def _older_volume(lab: Lab) -> str:
    """Remove the newest revision's table and number, as on a volume from before there were revisions."""
    stores.sql(lab, "DROP TABLE abandoned_uploads, alembic_version; COMMIT; SELECT 'dropped'")
    lab.do("up -d api_v2")
    lab.wait_healthy(["api_v2"])
    found = stores.sql(lab, "SELECT to_regclass('abandoned_uploads') IS NOT NULL")
    expect(found == [(True,)], "the table is still missing")
    line = _last_run(lab, "migrate")
    expect("brought from no revision" in line, f"migrate says: {line[-300:]}")
    return line


def _down_and_up(lab: Lab) -> str:
    _quiet(lab)
    running = [name for name in _running(lab) if name != "data_generator"]
    before = _stored(lab)
    lab.do("--profile '*' down --timeout 30", timeout=180)
    started = time.monotonic()
    lab.do(f"up -d {' '.join(running)}", timeout=_HEALTHY_S)
    lab.wait_healthy(running, _HEALTHY_S)
    seconds = time.monotonic() - started
    after = _stored(lab)
    lost = {name: (count, after[name]) for name, count in before.items() if after[name] != count}
    expect(not lost, f"before and after: {lost}")
    return f"{len(running)} services healthy {seconds:.0f} s after `up`; the same {len(before)} counts"


def _restart_daemon(lab: Lab) -> str:
    running = _running(lab)
    _quiet(lab)
    before = _stored(lab)
    lab.do("start data_generator")
    docker.restart()
    started = time.monotonic()
    lab.wait_healthy(running, _HEALTHY_S)
    seconds = time.monotonic() - started
    after = _stored(lab)
    lost = {name: (count, after[name]) for name, count in before.items() if after[name] < count}
    expect(not lost, f"before and after: {lost}")
    return f"{len(running)} services healthy {seconds:.0f} s after the daemon's start, without a hand"


def _kill(service: str) -> LabStep:
    def see(lab: Lab) -> str:
        if lab.state(service) == "absent":
            return "not part of this rehearsal"
        state = lab.inspect(service)["State"]
        process, old = int(state["Pid"]), state["StartedAt"]
        # After `docker kill` Docker would not start the container again.
        os.kill(process, signal.SIGKILL)
        started = time.monotonic()

        def back() -> str:
            now = lab.inspect(service)["State"]["StartedAt"]
            expect(now != old and lab.state(service) == "healthy", f"{service} is {lab.state(service)}")
            return ""

        until(back, _HEALTHY_S)
        return f"healthy again after {time.monotonic() - started:.0f} s"

    return LabStep(f"kill -9 the main process of {service}", "comes back by itself and becomes healthy", see)


def _all_at_once(lab: Lab) -> str:
    lab.do("--profile '*' down --timeout 30", timeout=180)
    services = lab.default_services()
    long_running = [name for name in services if lab.services[name].get("restart") != "no"]
    seconds = []
    for _ in range(lab.rounds):
        started = time.monotonic()
        lab.do(f"up -d {' '.join(services)}", timeout=300)
        lab.wait_healthy(long_running, _HEALTHY_S)
        seconds.append(time.monotonic() - started)
        again = [name for name in long_running if lab.inspect(name)["RestartCount"]]
        expect(not again, f"needed a retry: {again}")
        lab.do("down --timeout 30", timeout=180)
    return f"{len(seconds)} times, {min(seconds):.0f} to {max(seconds):.0f} s, no container restarted"


def _traffic(lab: Lab) -> str:
    lab.do("up -d data_generator")
    return lab.wait_healthy(["data_generator"])


_STOPPED = ("data_generator", "api_v2", "stream_consumer", "risk_scoring_service")
_KILLED = (
    *("api_v2", "stream_consumer", "risk_scoring_service", "redpanda", "redis", "postgres", "minio", "data_generator"),
    *("airflow-webserver", "airflow-dag-processor", "airflow-scheduler"),
)

STAGE = Stage(
    "operations",
    "Operations",
    (
        LabStep("DC up -d data_generator, again", "< 5 s; no job repeats its work", _second_up),
        _wrong_password("minio-init", "MINIO_ROOT_PASSWORD"),
        _wrong_password("airflow-init", "AIRFLOW_DB_PASSWORD"),
        _wrong_password("migrate", "POSTGRES_PASSWORD"),
        LabStep("DC up -d api_v2, on an older volume", "migrate creates what is missing, and says so", _older_volume),
        LabStep(
            "DC up -d api_v1, while api_v2 runs", "refused, with a line that says why; api_v2 is untouched", _both_apis
        ),
        *(stop(compose(f"stop {service}")) for service in _STOPPED),
        up(compose(" ".join(("up -d", *_STOPPED))), healthy=_STOPPED),
        *(_kill(service) for service in _KILLED),
        LabStep("gourmetgram audit --target compose", "no difference after all that", audit),
        LabStep("DC down; DC up -d …", "every store's data is kept; healthy within 3 min", _down_and_up),
        LabStep("DC up -d data_generator", "traffic again", _traffic),
        LabStep("restart of the Docker daemon", "all healthy again without a hand; data kept", _restart_daemon),
        LabStep("gourmetgram audit --target compose", "no difference after all that", audit),
    ),
)
ROUNDS = Stage(
    "rounds",
    "Everything at once",
    (LabStep("DC down; DC up -d (everything), again and again", "healthy without a retry", _all_at_once),),
)
