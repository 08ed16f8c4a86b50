"""MinIO: the system's own or, when there is none, a build of its Go module, made once."""

import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from gourmetgram import buckets
from gourmetgram.errors import PlatformError
from gourmetgram.models import keys
from gourmetgram.object_users import ObjectPlaces, ObjectUserSettings, ensure_users
from gourmetgram.settings import ObjectStoreSettings
from gourmetgram_tools.local import toolchain
from gourmetgram_tools.local.component import Component, Program
from gourmetgram_tools.local.errors import StackError
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.progress import StepReport

USER = "admin"
PASSWORD = "gourmetgram_minio"  # noqa: S105 - the lab's published teaching password

# Last version of the archived project, with its last security fixes (docs/decisions/object-store.md). The Compose lab
# compiles the same version.
VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
_MODULE = f"github.com/minio/minio@{VERSION}"
_PACKAGES_TO_COMPILE = 1300  # for the progress display only, so roughly is enough


class Minio(Component):
    """MinIO as a part of the stack.

    Args:
        layout: paths of the stack.
        port: port of the S3 API.
        console_port: port of the web console.
        console_host: address on which the console listens.
        cache: folder of programs that are built once.
    """

    name = "minio"
    title = "MinIO"
    contents = "buckets"

    def __init__(self, layout: Layout, port: int, console_port: int, console_host: str, cache: Path) -> None:
        self._folder = layout.folder / "minio"
        self._signing_keys_file = layout.signing_keys_file
        self._port = port
        self._console_port = console_port
        self._console_host = console_host
        self._cache = cache

    @property
    def ports(self) -> Mapping[str, int]:
        """Ports of the S3 API and of the console."""
        return {"MinIO": self._port, "MinIO's console": self._console_port}

    @property
    def endpoint(self) -> str:
        """URL of the S3 API."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def _built(self) -> Path:
        return self._cache / f"minio-{VERSION}" / "minio"

    def obtain(self, report: StepReport) -> None:
        """Build the server, unless the system has one or an earlier build exists."""
        if shutil.which("minio"):
            return
        with toolchain.exclusive(self._cache / "minio.lock"):
            if not self._built.exists():
                build(self._built, self._cache / "minio-build", report)

    def prepare(self, report: StepReport) -> None:
        """Create its folders; MinIO itself formats an empty one, in one step."""
        (self._folder / "data").mkdir(parents=True, exist_ok=True)
        (self._folder / "certificates").mkdir(exist_ok=True)

    def program(self) -> Program:
        """Server with its console."""
        return Program(
            command=(
                shutil.which("minio") or str(self._built),
                *("server", str(self._folder / "data")),
                *("--address", f"{self.host}:{self._port}"),
                *("--console-address", f"{self._console_host}:{self._console_port}"),
                # A folder of its own, because the certificates in the user's home do not belong to this stack.
                *("--certs-dir", str(self._folder / "certificates")),
            ),
            directory=self._folder,
            environment={
                "MINIO_ROOT_USER": USER,
                "MINIO_ROOT_PASSWORD": PASSWORD,
                "MINIO_UPDATE": "off",  # no search for newer versions: the project is archived
                "MINIO_PROMETHEUS_AUTH_TYPE": "public",
            },
        )

    def healthy(self) -> bool:
        """Probe its liveness endpoint."""
        return answers(f"{self.endpoint}/minio/health/live")

    def initialise(self, report: StepReport) -> None:
        """Create the two buckets, the key that signs the models in one of them, and the users of the services."""
        settings = ObjectStoreSettings(
            s3_endpoint_url=self.endpoint, aws_access_key_id=USER, aws_secret_access_key=PASSWORD
        )
        try:
            keys.create(self._signing_keys_file)
            buckets.create(settings)
            report("users of the services")
            ensure_users(settings, ObjectUserSettings(), ObjectPlaces())
        except PlatformError as error:
            raise StackError(str(error)) from error


def build(target: Path, workshop: Path, report: StepReport) -> None:
    """Compile MinIO from its Go module; the binary appears only when complete.

    An interrupted build is resumed: downloaded and compiled files stay in the workshop until the end.

    Args:
        target: path of the binary.
        workshop: folder for modules and compiled packages, deleted at the end.
        report: receives the progress.

    Raises:
        StackError: the build failed; the text holds the compiler's last lines.
    """
    programs = toolchain.go_install(workshop, _MODULE, line=_Progress(report))
    target.parent.mkdir(parents=True, exist_ok=True)
    (programs / "minio").replace(target)
    shutil.rmtree(workshop)


class _Progress:
    """Counts the lines of `go install -v`: one for each downloaded module and each compiled package."""

    def __init__(self, report: StepReport) -> None:
        self._report = report
        self._downloaded = self._compiled = 0

    def __call__(self, line: str) -> None:
        if line.startswith("go: downloading"):
            self._downloaded += 1
            progress = f"{self._downloaded} modules downloaded"
        elif not line.startswith("go:"):
            self._compiled += 1
            progress = f"{self._compiled} of about {max(self._compiled, _PACKAGES_TO_COMPILE)} packages compiled"
        else:
            return
        self._report(f"building it, the first time only: {progress}")


def answers(url: str, timeout_s: float = 2.0) -> bool:
    """Return whether a GET of a page of this stack gives status 200."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:  # noqa: S310 - our own http:// address
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
