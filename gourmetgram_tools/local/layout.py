"""Paths of a stack, and the file that keeps its ports."""

import hashlib
import json
import os
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from gourmetgram.files import replace_file
from gourmetgram_tools.local import ports
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.ports import Ports
from gourmetgram_tools.local.settings import LocalSettings

DEFAULT_NAME = "default"

# Longest path of the socket: 103 bytes on macOS, 107 on Linux, less the process id that supervisord appends.
_LONGEST_SOCKET_PATH = 90


@dataclass(frozen=True)
class Layout:
    """Folders and files of one stack. Reading a path creates nothing."""

    name: str
    home: Path

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", self.name):
            raise StackError(f"'{self.name}' is no name for a stack: use up to 40 lower-case letters, digits, - and _.")

    @property
    def folder(self) -> Path:
        """Folder of the stack; as root, it holds a link to PostgreSQL's data."""
        return self.home / self.name

    @property
    def identity(self) -> str:
        """Short text, unique among the stacks of the machine."""
        return f"{self.name}-{self._mark}"

    @property
    def _mark(self) -> str:
        return hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]

    @property
    def logs(self) -> Path:
        """Folder with one log file per program."""
        return self.folder / "logs"

    @property
    def plan_file(self) -> Path:
        """File with the name and ports of the stack."""
        return self.folder / "stack.json"

    @property
    def overrides_file(self) -> Path:
        """Optional file of NAME=VALUE lines that override every other setting of this stack's services."""
        return self.folder / "overrides.env"

    @property
    def signing_keys_file(self) -> Path:
        """Keys that sign the models in the stack's object store, readable by their owner only."""
        return self.folder / "model-signing-keys"

    @property
    def lock_file(self) -> Path:
        """Lock of a command that changes the stack; outside of its folder, which a wipe deletes."""
        return self.home / f"{self.name}.lock"

    @property
    def supervisor_config(self) -> Path:
        """Generated configuration of supervisord."""
        return self.folder / "supervisord.conf"

    @property
    def supervisor_socket(self) -> Path:
        """Socket of supervisord: in the stack's folder, unless that path is too long for a socket."""
        inside = self.folder / "supervisor.sock"
        if len(os.fsencode(inside)) <= _LONGEST_SOCKET_PATH:
            return inside
        return Path(tempfile.gettempdir()) / f"gourmetgram-{os.getuid()}" / f"{self._mark}.sock"

    @property
    def postgres_home(self) -> Path:
        """PostgreSQL's data folder and, as root, the files that another user must read.

        PostgreSQL refuses to run as root, and its own user often cannot enter root's checkout (mode 700). As root, this
        part therefore lives in GOURMETGRAM_SYSTEM_HOME, by default under /var/lib; `postgres_link` leads to it. A plain
        user's stack keeps its place when root takes it over.
        """
        inside = self.postgres_link
        is_elsewhere = os.geteuid() == 0 and (inside.is_symlink() or not inside.exists())
        return LocalSettings.load().gourmetgram_system_home / self.identity if is_elsewhere else inside

    @property
    def postgres_link(self) -> Path:
        """PostgreSQL's path in the stack's folder: the folder itself or, as root, a link to it."""
        return self.folder / "postgres"


@dataclass(frozen=True)
class StackPlan:
    """State of a stack that is kept between two commands."""

    ports: Ports
    ui_bind: str


def load_or_create_plan(layout: Layout, ui_bind: str) -> StackPlan:
    """Read the stack's plan; a new stack gets the lab's ports (`default`) or free ones (any other name).

    Args:
        layout: paths of the stack.
        ui_bind: address on which the pages of a new stack listen.

    Raises:
        StackError: the file is no valid plan.
    """
    if layout.plan_file.exists():
        return _read(layout.plan_file)
    is_default = layout.name == DEFAULT_NAME
    chosen = Ports() if is_default else ports.choose_free(_ports_of_other_stacks(layout))
    plan = StackPlan(chosen, ui_bind)
    save_plan(layout, plan)
    return plan


def save_plan(layout: Layout, plan: StackPlan) -> None:
    """Write the plan, all or nothing."""
    layout.folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"name": layout.name, "ui_bind": plan.ui_bind, "ports": asdict(plan.ports)}, indent=2)
    replace_file(layout.plan_file, text + "\n")


def _read(path: Path) -> StackPlan:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return StackPlan(Ports(**content["ports"]), content["ui_bind"])
    except (ValueError, KeyError, TypeError) as error:
        raise StackError(f"{path} does not describe a stack ({error}): correct it, or delete the file.") from error


def _ports_of_other_stacks(layout: Layout) -> set[int]:
    taken = set(asdict(Ports()).values())
    for path in layout.home.glob("*/stack.json"):
        taken.update(asdict(_read(path).ports).values())
    return taken
