"""Peak memory of a measuring program."""

import resource
import sys
from pathlib import Path


def peak_memory_bytes() -> int:
    """Highest resident memory of this process so far."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # On Linux, getrusage also counts the parent's from before the exec.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
