"""A Kubernetes API server with its etcd and no nodes: it checks and stores objects, and runs no pod."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gourmetgram_tools.local.ports import choose_free
from tests.support.kubernetes.programs import folder
from tests.support.waiting import wait_until

_TOKEN = "token-of-a-test"
_START_S = 120.0


class Cluster:
    """Commands of `kubectl` on an API server.

    Args:
        port: port of the server on this machine.
    """

    def __init__(self, port: int) -> None:
        address = (f"--server=https://127.0.0.1:{port}", "--insecure-skip-tls-verify", f"--token={_TOKEN}")
        self._words = (str(folder() / "kubectl"), *address)

    def run(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command; the result has its output, its errors with the server's warnings, and its code."""
        return subprocess.run(
            [*self._words, *words], input=given, capture_output=True, text=True, timeout=120, check=False
        )

    def objects(self, kinds: str) -> list[dict[str, Any]]:
        """Stored objects of all namespaces, as the server completed them."""
        found: list[dict[str, Any]] = json.loads(self.run("get", kinds, "-A", "-o", "json").stdout)["items"]
        return found


@contextmanager
def running(data: Path) -> Iterator[Cluster]:
    """An empty cluster, in an empty folder."""
    ports = choose_free()
    store = f"http://127.0.0.1:{ports.postgres}"
    key = data / "accounts.pem"
    key.write_bytes(
        rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    tokens = data / "tokens.csv"
    tokens.write_text(f'{_TOKEN},admin,1,"system:masters"\n')
    etcd = (
        *("server", f"--data-dir={data / 'etcd'}", f"--listen-client-urls={store}", f"--advertise-client-urls={store}"),
        f"--listen-peer-urls=http://127.0.0.1:{ports.redis}",
    )
    api = (
        *("kube-apiserver", f"--etcd-servers={store}", f"--secure-port={ports.api}", "--bind-address=127.0.0.1"),
        *(f"--cert-dir={data / 'certificates'}", "--service-account-issuer=https://kubernetes.default"),
        *(f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}"),
        *(f"--token-auth-file={tokens}", "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24"),
        # Accounts of pods are made by the controllers, which do not run.
        "--disable-admission-plugins=ServiceAccount",
    )
    with ExitStack() as stack:
        for name, *words in (etcd, api):
            stack.enter_context(_process(folder() / name, words, data / f"{name}.log"))
        cluster = Cluster(ports.api)
        wait_until(
            lambda: cluster.run("get", "--raw", "/readyz").returncode == 0, _START_S, f"Kubernetes (its log: {data})"
        )
        yield cluster


@contextmanager
def _process(program: Path, words: list[str], log: Path) -> Iterator[None]:
    with log.open("w") as file, subprocess.Popen([program, *words], stdout=file, stderr=subprocess.STDOUT) as process:
        try:
            yield
        finally:
            process.terminate()
