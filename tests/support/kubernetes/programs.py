"""Programs of a Kubernetes control plane, compiled once from the modules of go.mod; `make kubernetes` runs this module.

About ten minutes on two cores, and 3 GB of disk meanwhile; 180 MB stay in the user's cache.
"""

import shutil
import sys
from pathlib import Path
from typing import Final

from gourmetgram_tools.local import toolchain
from gourmetgram_tools.local.settings import LocalSettings

VERSION: Final = "v1.36.3"
"""Version of Kubernetes, as in go.mod."""
_MODULE: Final = Path(__file__).parent


def folder() -> Path:
    """Folder of `kube-apiserver`, `kubectl` and `server` (etcd); it exists after `obtain`."""
    return LocalSettings.load().cache / f"kubernetes-{VERSION}"


def obtain() -> None:
    """Compile the programs, unless an earlier build exists."""
    cache = LocalSettings.load().cache
    with toolchain.exclusive(cache / "kubernetes.lock"):
        if not folder().exists():
            workshop = cache / "kubernetes-build"
            toolchain.go_install(workshop, "tool", module=_MODULE, line=sys.stderr.write).replace(folder())
            shutil.rmtree(workshop)


if __name__ == "__main__":
    obtain()
