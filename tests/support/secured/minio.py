"""MinIO that speaks https."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from gourmetgram import buckets
from gourmetgram.settings import ObjectStoreSettings
from gourmetgram_tools.local.layout import Layout
from gourmetgram_tools.local.minio import PASSWORD, USER, Minio
from gourmetgram_tools.local.ports import choose_free
from gourmetgram_tools.local.progress import StepReport
from tests.support.secured.certificates import Certificate


class SessionKeys(NamedTuple):
    """Keys of a role, valid for an hour."""

    access_key_id: str
    secret_access_key: str
    token: str


class SecuredMinio(Minio):
    """MinIO of the local stack, with a certificate.

    Args:
        layout: paths of the server.
        cache: folder of programs that are built once.
        certificate: certificate of the server.
        authority: file of the authority that issued it.
    """

    def __init__(self, layout: Layout, cache: Path, certificate: Certificate, authority: Path) -> None:
        free = choose_free()
        super().__init__(layout, free.minio, free.minio_console, "127.0.0.1", cache)
        self._layout = layout
        self._certificate = certificate
        self._authority = authority

    @property
    def endpoint(self) -> str:
        """URL of the S3 API, with a name that the certificate has."""
        return f"https://localhost:{self._port}"

    def prepare(self, report: StepReport) -> None:
        """Create the folders, and give the server its certificate."""
        super().prepare(report)
        folder = self._layout.folder / "minio" / "certificates"
        shutil.copyfile(self._certificate.certificate, folder / "public.crt")
        shutil.copyfile(self._certificate.key, folder / "private.key")

    def healthy(self) -> bool:
        """Probe that it answers a client that knows the authority."""
        try:
            self._client("s3").list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True

    def initialise(self, report: StepReport) -> None:
        """Create the two buckets."""
        buckets.create(ObjectStoreSettings.load(self.environment(self._authority)))

    def session_keys(self) -> SessionKeys:
        """Keys of a role, from the store's own token service."""
        found = self._client("sts").assume_role(RoleArn="arn:x:ignored:by:minio:any", RoleSessionName="test")
        keys = found["Credentials"]
        return SessionKeys(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])

    def _client(self, service: str) -> Any:
        connect: Any = boto3.client
        return connect(
            service,
            endpoint_url=self.endpoint,
            aws_access_key_id=USER,
            aws_secret_access_key=PASSWORD,
            region_name="us-east-1",
            verify=str(self._authority),
        )

    def environment(self, authority: Path) -> dict[str, str]:
        """Variables of `ObjectStoreSettings`."""
        return {
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "AWS_REGION": "us-east-1",
            "AWS_CA_BUNDLE": str(authority),
            "S3_ENDPOINT_URL": self.endpoint,
            "S3_BUCKET_NAME": buckets.IMAGES,
        }
