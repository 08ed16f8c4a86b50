"""Peak memory of a measuring program, and what all its processes use together."""

import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from gourmetgram.errors import PlatformError

_SAMPLE_EVERY_S: Final = 0.25


def peak_memory_bytes() -> int:
    """Highest resident memory of this process so far."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # On Linux, getrusage also counts the parent's from before the exec.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


class TreeUse(NamedTuple):
    """Use of a program and all its descendants.

    Attributes:
        output: what the program printed.
        peak_bytes: highest sum of their memory at one of the samples; shared pages count once.
        cpu_s: their processor time. That of a process between its last sample and its end is missing.
    """

    output: str
    peak_bytes: int
    cpu_s: float


def run_measured(command: Sequence[str], environment: Mapping[str, str]) -> TreeUse:
    """Run a program whose output is short, and sample its processes four times a second.

    Raises:
        PlatformError: it failed.
    """
    peak, cpu = 0, dict[psutil.Process, float]()
    with subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, text=True) as program:
        watched = psutil.Process(program.pid)
        while program.poll() is None:
            peak = max(peak, _sample(watched, cpu))
            try:
                program.wait(_SAMPLE_EVERY_S)
            except subprocess.TimeoutExpired:
                continue
        output = program.stdout.read() if program.stdout else ""
    if program.returncode:
        raise PlatformError(f"{' '.join(command)} ended with code {program.returncode}")
    return TreeUse(output, peak, sum(cpu.values()))


def _sample(program: psutil.Process, cpu: dict[psutil.Process, float]) -> int:
    """Memory of a program's processes in bytes; updates their processor times."""
    memory = 0
    try:
        processes = [program, *program.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            memory += process.memory_full_info().pss
            times = process.cpu_times()
        except psutil.Error:  # it ended in this moment
            continue
        cpu[process] = times.user + times.system
    return memory
