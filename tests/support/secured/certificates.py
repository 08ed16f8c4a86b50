"""Certificates of the secured servers: made for one run, by an authority that no system trusts."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore
from cryptography.x509 import load_pem_x509_certificate


class Certificate(NamedTuple):
    """Files of one server: its certificate, its key (PKCS #8), and both together."""

    certificate: Path
    key: Path
    both: Path


class Certificates:
    """One authority, and the certificates that it issues.

    Args:
        folder: folder of the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.authority = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.authority)
        self.stranger = folder / "stranger.pem"
        """An authority that has issued none of these certificates."""
        trustme.CA().cert_pem.write_to_path(self.stranger)
        self.server = self._issue("server", "localhost", "127.0.0.1")
        self.misnamed = self._issue("misnamed", "elsewhere.example")
        self.expired = self._issue("expired", "localhost", "127.0.0.1", age=timedelta(days=2))

    def trusting_java(self) -> str:
        """Options of a Java program that trusts this authority."""
        file, password = self._folder / "ca.p12", "of-no-secret"
        authority = PKCS12Certificate(load_pem_x509_certificate(self.authority.read_bytes()), b"authority")
        file.write_bytes(serialize_java_truststore([authority], BestAvailableEncryption(password.encode())))
        return f"-Djavax.net.ssl.trustStore={file} -Djavax.net.ssl.trustStorePassword={password}"

    def _issue(self, name: str, *hosts: str, age: timedelta = timedelta()) -> Certificate:
        """Issue a certificate for a day that began `age` ago."""
        now = datetime.now(UTC) - age
        issued = self._authority.issue_cert(
            *hosts, not_before=now - timedelta(minutes=5), not_after=now + timedelta(days=1)
        )
        files = Certificate(*(self._folder / f"{name}.{ending}" for ending in ("crt", "key", "pem")))
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        # Kafka reads this form of a key alone; the other servers read it, too.
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for file, content in zip(files, (chain, pem, pem + chain), strict=True):
            file.write_bytes(content)
            file.chmod(0o600)
        return files
