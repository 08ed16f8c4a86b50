"""A stack: servers and services of the platform on this machine, with a name, a folder and ports of its own."""

import logging
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import psutil
from dotenv import set_key

from gourmetgram.waiting import wait_for
from gourmetgram_tools.local import jupyter, logs, ports, toolchain
from gourmetgram_tools.local import layout as layouts
from gourmetgram_tools.local.blueprint import DEFAULT_SERVICES, EXTRAS, Blueprint
from gourmetgram_tools.local.component import Component
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.jupyter import JUPYTER
from gourmetgram_tools.local.layout import DEFAULT_NAME, Layout, StackPlan
from gourmetgram_tools.local.ports import Ports
from gourmetgram_tools.local.postgres import Postgres
from gourmetgram_tools.local.progress import LogProgress, StepProgress
from gourmetgram_tools.local.services import WORKERS
from gourmetgram_tools.local.settings import LocalSettings
from gourmetgram_tools.local.supervision import Supervisor, kill_tree, process_tree, render_config, survivors

log = logging.getLogger(__name__)

# Four servers start in five seconds on two free cores; ten times the load makes that ten times longer.
_READY_DEADLINE_S = 180.0
_STOP_DEADLINE_S = 60.0
_CRASHING_DEADLINE_S = 15.0
_POLL_S = 0.1


@dataclass(frozen=True)
class ComponentStatus:
    """State of one server or service.

    Attributes:
        name: its name in commands.
        state: state in supervisord (RUNNING, STARTING, BACKOFF, STOPPED, EXITED, FATAL), or PAUSED. A part that answers
            is RUNNING.
        pid: process id while it runs.
        port: main port; None when it listens on none.
        healthy: True when it just answered its health check.
    """

    name: str
    state: str
    pid: int | None
    port: int | None
    healthy: bool


class Stack:
    """One stack. The constructor starts nothing and changes nothing on disk.

    Args:
        name: name of the stack; `default` uses the lab's ports, any other gets free ones on its first use.
        home: folder that holds the stack's folder; None = the setting GOURMETGRAM_STACK_HOME, else `.stack` in
            the checkout.
    """

    def __init__(self, name: str = DEFAULT_NAME, home: Path | None = None) -> None:
        self._settings = LocalSettings.load()
        self._layout = Layout(name, (home or self._settings.gourmetgram_stack_home).expanduser().absolute())
        self._supervisor = Supervisor(self._layout)

    @classmethod
    def load(cls, name: str | None = None, home: Path | None = None) -> Self:
        """Load an existing stack, or `default`.

        Args:
            name: name of the stack; None = the setting GOURMETGRAM_STACK.
            home: like in the constructor.

        Raises:
            StackError: there is no stack of this name.
        """
        stack = cls(name or LocalSettings.load().gourmetgram_stack, home)
        if stack.name != DEFAULT_NAME and not stack._layout.plan_file.exists():
            raise StackError(
                f"There is no stack '{stack.name}' in {stack._layout.home}: "
                f"create it with `gourmetgram --stack {stack.name} up`."
            )
        return stack

    @property
    def name(self) -> str:
        """Name of the stack."""
        return self._layout.name

    @property
    def folder(self) -> Path:
        """Folder of the stack's data and logs."""
        return self._layout.folder

    @property
    def plan(self) -> StackPlan:
        """Ports and listening address of the stack; chosen and stored on first use."""
        return layouts.load_or_create_plan(self._layout, self._settings.ui_bind)

    @property
    def ports(self) -> Ports:
        """Ports of the stack."""
        return self.plan.ports

    def use_port(self, name: str, port: int) -> None:
        """Store another port for one purpose.

        Args:
            name: a field of `Ports`.
            port: the port to use from the next start on.

        Raises:
            StackError: there is no such field.
        """
        try:
            changed = replace(self.ports, **{name: port})
        except TypeError:
            known = ", ".join(Ports.__dataclass_fields__)
            raise StackError(f"There is no port '{name}': the names are {known}.") from None
        layouts.save_plan(self._layout, replace(self.plan, ports=changed))

    def use_host(self, ui_bind: str) -> None:
        """Store the address on which the API and the console listen from the next start on."""
        layouts.save_plan(self._layout, replace(self.plan, ui_bind=ui_bind))

    def override(self, variable: str, value: str) -> None:
        """Store a variable for all services of this stack; it counts from each one's next start on.

        Args:
            variable: name of a switch, such as INFERENCE_MODE; it gets a line in `overrides.env`.
            value: value of the variable.
        """
        self._layout.folder.mkdir(parents=True, exist_ok=True)
        set_key(self._layout.overrides_file, variable, value, quote_mode="auto")

    def log_file(self, name: str) -> Path:
        """Log file of a component."""
        return self._layout.logs / f"{self._component(name).name}.log"

    @property
    def _blueprint(self) -> Blueprint:
        return Blueprint(self._layout, self.plan, self._settings.cache)

    @property
    def jupyter_token(self) -> str:
        """Token of Jupyter's pages; empty before the stack's first start."""
        home = self.folder / JUPYTER
        return jupyter.token(home) if (home / "token").exists() else ""

    @property
    def postgres(self) -> Postgres:
        """Database server of the stack."""
        return self._blueprint.postgres

    def environment(self, service: str | None = None) -> dict[str, str]:
        """Variables with which a program reaches this stack, by their names in the lab.

        Args:
            service: service whose variables are all included; None = only those for any program.
        """
        return self._blueprint.environment(service)

    def _component(self, name: str) -> Component:
        components = self._blueprint.components()
        if name not in components:
            raise StackError(f"The stack has no '{name}': it has {', '.join(components)}.")
        return components[name]

    def command(self, words: str) -> str:
        """Command line that acts on this stack, quoted for a sentence."""
        option = "" if self.name == DEFAULT_NAME else f"--stack {self.name} "
        return f"`gourmetgram {option}{words}`"

    def is_up(self) -> bool:
        """Return whether the stack is up; single parts of it may be stopped."""
        return self._supervisor.running()

    def require_up(self) -> None:
        """Check that the stack is up, see `is_up`.

        Raises:
            StackError: the stack is not up.
        """
        if not self.is_up():
            raise StackError(f"The stack '{self.name}' is not up: run {self.command('up')} first.")

    # --- the whole stack ------------------------------------------------------------------------------------------

    def up(self, services: Sequence[str] | None = None, progress: StepProgress | None = None) -> None:
        """Start the servers and services, and wait until all are healthy; unchanged running parts stay as they are.

        Args:
            services: services beside the servers; None = the usual ones, () = servers only.
            progress: receives each step; None = the log.

        Raises:
            StackError: a port is taken, a program did not start, or a step failed.
        """
        steps = progress or LogProgress()
        with self._exclusive():
            blueprint = self._blueprint
            servers = blueprint.servers
            own = [self._component(name) for name in self._services_to_start(services)]
            # Airflow sets up its database before it starts, so PostgreSQL comes first.
            extras = {name for names in EXTRAS.values() for name in names}
            late = [component for component in own if component.name in extras]
            own = [component for component in own if component not in late]
            self._end_survivors()
            self._check_ports([*servers, *own, *late])
            for component in (*servers, *late):
                with steps.step(f"{component.title}: programs") as report:
                    component.obtain(report)
            self._launch_supervisor()
            # Services wait for a broker that is still starting, but they need its topics, created at the first start.
            early = own if blueprint.kafka.has_topics else []
            for component in (*servers, *early):
                self._start(component, steps)
            for server in servers:
                self._finish_server(server, steps)
            for service in (*(own if not early else ()), *late):
                self._start(service, steps)
            for service in (*own, *late):
                with steps.step(f"{service.title}: healthy"):
                    self.wait_healthy(service.name)

    def down(self, wipe: bool = False, progress: StepProgress | None = None) -> None:
        """Stop all parts.

        Args:
            wipe: also delete all data, logs and the port plan.
            progress: receives each step; None = the log.
        """
        steps = progress or LogProgress()
        with self._exclusive():
            with steps.step("Stopping everything"):
                for name in self._supervisor.states():
                    self._signal(name, signal.SIGCONT)
                self._supervisor.shut_down(_STOP_DEADLINE_S)
                self._end_survivors()
            if wipe:
                with steps.step("Deleting the data"):
                    shutil.rmtree(self._layout.postgres_home, ignore_errors=True)
                    if self._layout.folder.exists():
                        shutil.rmtree(self._layout.folder)

    def wipe(self) -> None:
        """Stop all parts and delete all data."""
        self.down(wipe=True)

    def status(self) -> list[ComponentStatus]:
        """Probe state and health of all components, at the same time."""
        states = self._supervisor.states()
        components = self._blueprint.components().values()

        def look(component: Component) -> ComponentStatus:
            known = states.get(component.name)
            state, pid = (known.state, known.pid) if known else ("STOPPED", None)
            if pid is not None and _is_paused(pid):
                state = "PAUSED"
            healthy = state in ("STARTING", "RUNNING") and component.healthy()
            if healthy:  # supervisord reports STARTING for a second or two, however fast the program is
                state = "RUNNING"
            return ComponentStatus(component.name, state, pid, next(iter(component.ports.values()), None), healthy)

        with ThreadPoolExecutor(len(components)) as pool:
            return list(pool.map(look, components))

    # --- one part -------------------------------------------------------------------------------------------------

    def start(self, name: str, wait: bool = True) -> None:
        """Start one component with its current settings; a running one is restarted only when they changed.

        Args:
            name: name of a server or service.
            wait: True = return when it is healthy; False = at once.
        """
        with self._exclusive():
            component = self._component(name)
            self.require_up()
            self._check_ports([component])
            self._write_config()
            self._start(component, LogProgress())
            if wait:
                self.wait_healthy(name)

    def stop(self, name: str) -> None:
        """Stop one component and wait until it is gone."""
        with self._exclusive():
            component = self._component(name)
            self.require_up()
            self._signal(component.name, signal.SIGCONT)
            self._supervisor.stop(component.name)

    def restart(self, name: str, wait: bool = True) -> None:
        """Stop one component and start it with its current settings."""
        self.stop(name)
        self.start(name, wait)

    def kill(self, name: str) -> None:
        """SIGKILL one component with all its processes; the supervisor starts it again (see `wait_healthy`)."""
        kill_tree(self._pid(name))

    def pause(self, name: str) -> None:
        """Freeze one component (SIGSTOP): it keeps its connections and ports, but does not answer."""
        self._pid(name)
        self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Resume a frozen component (SIGCONT)."""
        self._pid(name)
        self._signal(name, signal.SIGCONT)

    def wait_healthy(self, name: str, deadline_s: float = _READY_DEADLINE_S) -> None:
        """Wait until a component runs and is healthy.

        Raises:
            StackError: its start failed for good, or the deadline passed; the text holds its last log lines.
        """
        component = self._component(name)

        def failed(_state: str) -> StackError:
            return StackError(
                f"{component.title} did not become healthy. The last lines of {self.log_file(name)}:\n"
                f"{self._last_lines(name)}\n"
                f"Once the cause is removed, run `gourmetgram up` again; more lines: `gourmetgram logs {name}`."
            )

        def state() -> str:
            known = self._supervisor.states().get(name)
            if known is None:
                return "FATAL"
            return "HEALTHY" if known.state in ("STARTING", "RUNNING") and component.healthy() else known.state

        ended = {"HEALTHY", "FATAL"}
        found = wait_for(
            state, deadline_s=deadline_s, every_s=_POLL_S, late=failed, done=lambda now: now in {*ended, "BACKOFF"}
        )
        if found == "BACKOFF":
            # It ended right after its start. A few more attempts are worth a wait, the whole deadline is not.
            left_s = min(deadline_s, _CRASHING_DEADLINE_S)
            found = wait_for(state, deadline_s=left_s, every_s=_POLL_S, late=failed, done=lambda now: now in ended)
        if found == "FATAL":
            raise failed(found)

    # --- steps -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Lock of the stack: one command at a time changes it, a second one waits."""
        with toolchain.exclusive(self._layout.lock_file):
            yield

    def _services_to_start(self, services: Sequence[str] | None) -> Sequence[str]:
        if services is not None:
            return services
        if self._runs("api_v1"):  # the user switched to it, and only one can have the port
            return ("api_v1", *WORKERS)
        return DEFAULT_SERVICES

    def _runs(self, name: str) -> bool:
        known = self._supervisor.states().get(name)
        return known is not None and known.pid is not None

    def _end_survivors(self) -> None:
        """End processes that outlived a killed supervisord, since no supervisor would restart or stop them."""
        if self._supervisor.running():
            return
        for pid, name in survivors(self._layout).items():
            log.warning("Ending %s (process %d), left over from a crash", name, pid)
            kill_tree(pid)

    def _check_ports(self, components: Sequence[Component]) -> None:
        states = self._supervisor.states()
        for component in components:
            known = states.get(component.name)
            if known and known.state in ("RUNNING", "STARTING", "BACKOFF"):
                continue
            for purpose, port in component.ports.items():
                if not ports.is_free(port, component.host):
                    raise StackError(self._taken(purpose, port))

    def _taken(self, purpose: str, port: int) -> str:
        blocker = ports.holder(port)
        for name, known in self._supervisor.states().items():
            if known.pid is not None and known.pid == blocker.pid:
                return (
                    f"Port {port} for {purpose} is in use by {name} of this stack: "
                    f"stop it first with {self.command(f'stop {name}')}."
                )
        field = next(key for key in Ports.__dataclass_fields__ if getattr(self.ports, key) == port)
        return (
            f"Port {port} for {purpose} is taken by {blocker}: end that program, choose another port with "
            f"{self.command(f'up --port {field}=NUMBER')}, or use a stack with free ports of its own, "
            "`gourmetgram --stack NAME up`."
        )

    def _launch_supervisor(self) -> None:
        self._write_config()
        if not self._supervisor.running():
            self._supervisor.launch()

    def _write_config(self) -> None:
        programs = {name: component.program() for name, component in self._blueprint.components().items()}
        self._supervisor.write_config(render_config(self._layout, programs, os.geteuid() == 0))

    def _finish_server(self, server: Component, steps: StepProgress) -> None:
        """Wait until a server is healthy, then create the contents that clients expect."""
        with steps.step(f"{server.title}: healthy"):
            self.wait_healthy(server.name)
        if server.contents:
            with steps.step(f"{server.title}: {server.contents}") as report:
                server.initialise(report)

    def _start(self, component: Component, steps: StepProgress) -> None:
        """Start a component with the settings just written; a running one is restarted only when they changed."""
        with steps.step(f"{component.title}: data folder and start") as report:
            self._supervisor.apply(component.name)
            if not self._runs(component.name):
                self._supervisor.stop(component.name)  # supervisord may be about to try again
                component.prepare(report)
            self._supervisor.start(component.name)

    def _last_lines(self, name: str) -> str:
        lines = logs.last_lines(self.log_file(name), 15) or ["(none)"]
        return "\n".join(f"    {line}" for line in lines)

    def _pid(self, name: str) -> int:
        component = self._component(name)
        self.require_up()
        known = self._supervisor.states().get(component.name)
        if known is None or known.pid is None:
            raise StackError(f"{name} does not run: see {self.command('status')}.")
        return known.pid

    def _signal(self, name: str, number: signal.Signals) -> None:
        known = self._supervisor.states().get(name)
        if known is None or known.pid is None:
            return
        for process in process_tree(known.pid):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def _is_paused(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False
