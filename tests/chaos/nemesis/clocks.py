"""Clocks: each service reads the time with an offset of its own, which changes while it runs.

The library `clock.c` is preloaded into the services. It moves CLOCK_REALTIME alone; the monotonic clock stays true, as
when a machine's clock is set.
"""

import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).with_name("clock.c")
_OFFSET: Final = struct.Struct("=q")


class Clocks:
    """Offsets of the services' clocks, in files that the services map into their memory.

    Args:
        folder: an empty folder for the library and the files.
        services: names of the services.
    """

    def __init__(self, folder: Path, services: Sequence[str]) -> None:
        self._folder = folder
        self._library = folder / "clock.so"
        self._services = services
        compiler = shutil.which("cc")
        self.possible = compiler is not None
        """True when the library could be compiled."""
        if compiler is None:
            return
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(self._library), str(_SOURCE), "-ldl"]
        subprocess.run(command, check=True)
        for service in services:
            (folder / service).write_bytes(_OFFSET.pack(0))

    def variables(self) -> Mapping[str, str]:
        """Variables that a service needs at its start; none without a compiler."""
        if not self.possible:
            return {}
        return {"LD_PRELOAD": str(self._library), "NEMESIS_CLOCKS": str(self._folder)}

    def jump(self, service: str, seconds: int) -> None:
        """Set the clock of a service; it stays ahead of the true time, or behind it, until `heal`."""
        with (self._folder / service).open("r+b", buffering=0) as file:  # the same file: it is mapped
            file.write(_OFFSET.pack(seconds))

    def heal(self) -> None:
        """Set all clocks to the true time."""
        if self.possible:
            for service in self._services:
                self.jump(service, 0)
