"""Certificates and keys from files, as both the load engine and the service clients need them."""

from __future__ import annotations

import base64
import os
import re
import socket
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import ServiceError

if TYPE_CHECKING:
    from runner.scenario.schema import TlsSettings

_PEM_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_KEY_LABELS = {0x02: "RSA PRIVATE KEY", 0x04: "EC PRIVATE KEY", 0x30: "PRIVATE KEY"}
"""Type of the second field of a DER key, which tells PKCS #1, SEC 1 and PKCS #8 apart."""


@dataclass(frozen=True)
class Tls:
    """Whom to believe and who we are, all in PEM."""

    roots: str
    verify: bool = True
    server_name: str | None = None
    chain: str | None = None
    key: str | None = field(default=None, repr=False)

    def context(self, *protocols: str) -> ssl.SSLContext:
        """For clients of the standard library."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        if self.verify:
            _load_roots(context, self.roots)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.chain and self.key:
            _load_identity(context, self.chain, self.key)
        return context

    def presented(self, address: str) -> str:
        """The certificate that the server at host:port shows, unverified."""
        host, _, port = address.rpartition(":")
        context = Tls("", verify=False, chain=self.chain, key=self.key).context("h2")
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=self.server_name or host.strip("[]")) as encrypted,
        ):
            return ssl.DER_cert_to_PEM_cert(encrypted.getpeercert(binary_form=True) or b"")


def name_in(certificate: str) -> str:
    """A DNS name that a PEM certificate is for, else its common name."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(certificate)
        file.flush()
        # The one parser that the standard library has takes a path.
        decoded: dict[str, Any] = ssl._ssl._test_decode_cert(file.name)  # type: ignore[attr-defined]
    names = [value for kind, value in decoded.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    common = [value for part in decoded.get("subject", ()) for key, value in part if key == "commonName"]
    return str(next(iter([*names, *common]), "unknown"))


def load_tls(settings: TlsSettings, address: str = "workload.tls") -> Tls:
    """Read the files that the scenario names at `address`.

    Raises:
        ServiceError: a file cannot be read or holds something else.
    """
    roots = ""
    if settings.verify:
        roots = _certificates(f"{address}.ca", settings.ca) if settings.ca else _system_roots()
    return Tls(
        roots=roots,
        verify=settings.verify,
        server_name=settings.server_name,
        chain=_certificates(f"{address}.cert", settings.cert) if settings.cert else None,
        key=_key(f"{address}.key", settings.key) if settings.key else None,
    )


def _system_roots() -> str:
    context = ssl.create_default_context()
    roots = [ssl.DER_cert_to_PEM_cert(der) for der in context.get_ca_certs(binary_form=True)]
    if not roots:
        raise ServiceError(
            "workload.tls.ca is not set, and this machine has no CA certificates",
            hint="set workload.tls.ca to the certificate that signed the server's, or verify: false",
        )
    return "".join(roots)


def _certificates(name: str, path: str) -> str:
    data = _read(name, path)
    if b"-----BEGIN CERTIFICATE-----" in data:
        return data.decode(errors="replace")
    if data[:1] == b"\x30":
        return ssl.DER_cert_to_PEM_cert(data)
    raise _unusable(name, path, "a PEM or DER certificate")


def _key(name: str, path: str) -> str:
    data = _read(name, path)
    text = data.decode(errors="replace")
    if _PEM_KEY.search(text):
        if "ENCRYPTED" in text:
            raise _unusable(name, path, "a private key without a passphrase")
        return text
    label = _KEY_LABELS.get(_second_field(data))
    if label is None:
        raise _unusable(name, path, "a PEM or DER private key")
    body = base64.encodebytes(data).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n"


def _second_field(der: bytes) -> int:
    """Type of what follows the version number in a DER key: SEQUENCE { INTEGER, … }."""
    if len(der) < 16 or der[0] != 0x30:
        return -1
    start = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
    after = start + 2 + der[start + 1] if start + 1 < len(der) and der[start] == 0x02 else len(der)
    return der[after] if after < len(der) else -1


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ServiceError(
            f"{name}: cannot read {path}: {error.strerror or error}",
            hint="the path is relative to the folder in which scenario runs",
        ) from error


def _unusable(name: str, path: str, expected: str) -> ServiceError:
    return ServiceError(f"{name}: {path} is not {expected}", hint="make one with openssl")


def _load_roots(context: ssl.SSLContext, roots: str) -> None:
    try:
        context.load_verify_locations(cadata=roots)
    except ssl.SSLError as error:
        raise ServiceError(
            f"workload.tls.ca: the certificates in it are not valid: {error.reason}", hint="make them anew"
        ) from error


def _load_identity(context: ssl.SSLContext, chain: str, key: str) -> None:
    # The ssl module takes certificates from files only; this one is readable to us alone and gone at once.
    descriptor, path = tempfile.mkstemp(prefix="scenario-", suffix=".pem")
    try:
        with open(descriptor, "w") as file:
            file.write(chain.rstrip() + "\n" + key)
        context.load_cert_chain(path)
    except ssl.SSLError as error:
        raise ServiceError(
            f"workload.tls: the certificate and the key do not belong together or are not valid: {error.reason}",
            hint="see workload.tls.cert and workload.tls.key",
        ) from error
    finally:
        os.unlink(path)
