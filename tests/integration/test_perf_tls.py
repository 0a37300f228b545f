"""The eleven `--ssl-*` options: gRPC to a Triton that speaks TLS itself, HTTPS through a proxy in front of one.

Nobody but the server can say whether a certificate was used, so each option is given once rightly and once wrongly.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from runner.cli.main import invoke
from runner.runtimes.base import RunningServer, ServerSpec
from runner.runtimes.embedded import EmbeddedRuntime
from runner.services.tls import Tls
from tests.integration.perf_runs import MEASURED, SHORT
from tests.integration.tls_proxy import encrypted
from tests.unit.services.kserve_http_server import Certificates, make_certificates

LOAD = ("-m", "identity", "--shape", "INPUT0:4", "--request-count", "30")
USAGE, SERVICE = 2, 4
PEER, HOST, CA = "--ssl-https-verify-peer", "--ssl-https-verify-host", "--ssl-https-ca-certificates-file"
CERT, CERT_TYPE = "--ssl-https-client-certificate-file", "--ssl-https-client-certificate-type"
KEY, KEY_TYPE = "--ssl-https-private-key-file", "--ssl-https-private-key-type"
GRPC, GRPC_CA = "--ssl-grpc-use-ssl", "--ssl-grpc-root-certifications-file"
GRPC_CERT, GRPC_KEY = "--ssl-grpc-certificate-chain-file", "--ssl-grpc-private-key-file"

Told = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = make_certificates(tmp_path_factory.mktemp("certificates"))
    (made.folder / "broken.crt").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return made


@pytest.fixture
def told(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Told:
    """Calls `scenario perf` among the certificates; returns the exit code and what stands on stderr."""
    monkeypatch.chdir(certificates.folder)
    monkeypatch.setenv("SCENARIO_HOME", str(tmp_path / "home"))

    def call(url: str, *arguments: str) -> tuple[int, str]:
        code = invoke(["perf", *SHORT, *LOAD, "--output-dir", str(tmp_path / "runs"), "-u", url, *arguments])
        return code, capsys.readouterr().err

    return call


# --- HTTPS --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def https(triton: RunningServer, certificates: Certificates) -> Iterator[int]:
    """Port of the shared server behind TLS, with a certificate for localhost and 127.0.0.1."""
    with encrypted(triton.endpoint.http, certificates.context()) as port:
        yield port


@pytest.fixture(scope="module")
def mutual(triton: RunningServer, certificates: Certificates) -> Iterator[int]:
    """As `https`, for those who show a certificate."""
    with encrypted(triton.endpoint.http, certificates.context(mutual=True)) as port:
        yield port


@pytest.mark.parametrize(
    "arguments",
    [
        (CA, "ca.crt"),
        (CA, "ca.der", HOST, "2", PEER, "1"),
        (PEER, "0"),
        (PEER, "0", HOST, "0", CA, "stranger.crt"),
    ],
)
def test_a_certificate_is_believed(arguments: tuple[str, ...], https: int, told: Told) -> None:
    assert told(f"https://localhost:{https}", *arguments)[0] in MEASURED


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), SERVICE, ("certificate verify failed", f"see {CA}, {PEER}")),
        ((CA, "stranger.crt"), SERVICE, ("certificate verify failed", f"see {CA}, {PEER}")),
        ((CA, "ca.crt", HOST, "0"), USAGE, (f"{HOST} 0", f"add {PEER} 0")),
        ((CA, "client.key"), USAGE, (f"{CA}: ", "client.key is not a PEM or DER certificate")),
        ((CA, "broken.crt"), USAGE, (f"{CA}: the certificates in it are not valid",)),
        ((CA, "absent.crt"), USAGE, (f"{CA}: expected a file that can be read, got 'absent.crt'",)),
    ],
)
def test_a_certificate_is_not_believed(
    arguments: tuple[str, ...], code: int, says: tuple[str, ...], https: int, told: Told
) -> None:
    found, err = told(f"https://localhost:{https}", *arguments)
    assert found == code
    assert [words for words in says if words not in err] == [], err


def test_a_certificate_of_another_name(https: int, certificates: Certificates, told: Told) -> None:
    """No client is asked for the name of this machine: any that leads to the port does."""
    elsewhere = f"https://{socket.gethostname()}:{https}"
    code, err = told(elsewhere, CA, "ca.crt")
    if "Hostname mismatch" not in err:
        pytest.skip("this machine's own name does not lead to 127.0.0.1")
    assert code == SERVICE
    assert "--set workload.tls.server_name=NAME" in err
    assert told(elsewhere, CA, "ca.crt", "--set", "workload.tls.server_name=localhost")[0] in MEASURED
    assert told(elsewhere, PEER, "0")[0] in MEASURED


@pytest.mark.parametrize(
    "identity",
    [
        (CERT, "client.crt", KEY, "client.key"),
        (CERT, "client.der", CERT_TYPE, "DER", KEY, "client-pkcs8.der", KEY_TYPE, "DER"),
        (CERT, "client.der", CERT_TYPE, "DER", KEY, "client-sec1.der", KEY_TYPE, "DER"),
        (CERT, "client.crt", CERT_TYPE, "PEM", KEY, "client-sec1.der", KEY_TYPE, "DER"),
    ],
)
def test_the_client_shows_its_certificate(identity: tuple[str, ...], mutual: int, told: Told) -> None:
    assert told(f"https://localhost:{mutual}", CA, "ca.crt", *identity)[0] in MEASURED


@pytest.mark.parametrize(
    ("identity", "code", "says"),
    [
        ((), SERVICE, (f"it may want a client's certificate ({CERT} and {KEY})",)),
        ((CERT, "client.crt"), USAGE, (f"{CERT} and {KEY}: expected both",)),
        ((KEY, "client.key"), USAGE, (f"{CERT} and {KEY}: expected both",)),
        ((CERT, "client.crt", KEY, "server.key"), USAGE, ("do not belong together", f"see {CERT} and {KEY}")),
        ((CERT, "client.crt", KEY, "client.crt"), USAGE, (f"{KEY}: ", "client.crt is not a PEM or DER private key")),
        ((CERT, "client.crt", KEY, "absent.key"), USAGE, (f"{KEY}: expected a file that can be read",)),
        ((CERT, "client.crt", KEY, "client.key", KEY_TYPE, "P12"), USAGE, (f"{KEY_TYPE}: expected PEM or DER",)),
    ],
)
def test_the_client_is_not_let_in(
    identity: tuple[str, ...], code: int, says: tuple[str, ...], mutual: int, told: Told
) -> None:
    found, err = told(f"https://localhost:{mutual}", CA, "ca.crt", *identity)
    assert found == code
    assert [words for words in says if words not in err] == [], err


def test_clear_text_and_tls_do_not_meet(triton: RunningServer, https: int, told: Told) -> None:
    code, err = told(f"localhost:{https}", CA, "ca.crt")
    assert code == SERVICE
    assert f"note: {CA}: no effect without https:// in -u" in err
    assert "or want TLS (-u https://host:port)" in err
    code, err = told(f"https://{triton.endpoint.http}", CA, "ca.crt")
    assert code == SERVICE
    assert "the TLS handshake failed" in err


# --- gRPC ---------------------------------------------------------------------------------------------------------


def serving(folder: Path, models: Path, certificates: Certificates, **flags: Any) -> Any:
    ca, chain, key = (Path(getattr(certificates, name)).read_text() for name in ("ca_crt", "client_crt", "client_key"))
    spec = ServerSpec(
        repository=models,
        load=("identity",),
        canary="identity",
        run_id="tls",
        log=folder / "server.log",
        flags={"grpc-server-cert": certificates.server_crt, "grpc-server-key": certificates.server_key, **flags},
        tls=Tls(ca, chain=chain, key=key),
    )
    return EmbeddedRuntime(folder / "state").start(spec)


@pytest.fixture(scope="module")
def grpc(
    tmp_path_factory: pytest.TempPathFactory, models: Path, certificates: Certificates
) -> Iterator[tuple[str, str]]:
    """Addresses of a server that speaks TLS, and of one that wants a certificate of its clients."""
    folder, of_clients = tmp_path_factory.mktemp, {"grpc-use-ssl-mutual": True, "grpc-root-cert": certificates.ca_crt}
    with ExitStack() as stack:
        plain = stack.enter_context(serving(folder("tls"), models, certificates, **{"grpc-use-ssl": True}))
        mutual = stack.enter_context(serving(folder("mutual"), models, certificates, **of_clients))
        yield plain.endpoint.grpc, mutual.endpoint.grpc


def test_grpc_is_encrypted(grpc: tuple[str, str], told: Told) -> None:
    plain, mutual = grpc
    assert told(plain, "-i", "grpc", GRPC, GRPC_CA, "ca.crt")[0] in MEASURED
    identity = (GRPC_CERT, "client.crt", GRPC_KEY, "client.key")
    assert told(mutual, "-i", "grpc", GRPC, GRPC_CA, "ca.crt", *identity)[0] in MEASURED
    assert told(mutual, "-i", "grpc", "--streaming", GRPC, GRPC_CA, "ca.crt", *identity)[0] in MEASURED


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), SERVICE, (f"or want TLS ({GRPC})",)),
        ((GRPC_CA, "ca.crt"), SERVICE, (f"note: {GRPC_CA}: no effect without {GRPC}",)),
        ((GRPC,), SERVICE, ("CERTIFICATE_VERIFY_FAILED", f"see {GRPC_CA}")),
        ((GRPC, GRPC_CA, "stranger.crt"), SERVICE, ("CERTIFICATE_VERIFY_FAILED", f"see {GRPC_CA}")),
        ((GRPC, GRPC_CA, "absent.crt"), USAGE, (f"{GRPC_CA}: expected a file that can be read",)),
        ((GRPC, GRPC_CERT, "client.crt"), USAGE, (f"{GRPC_CERT} and {GRPC_KEY}: expected both",)),
        ((GRPC, GRPC_CERT, "client.crt", GRPC_KEY, "server.key"), USAGE, ("do not belong together",)),
        ((GRPC, GRPC_CERT, "client.crt", GRPC_KEY, "ca.crt"), USAGE, (f"{GRPC_KEY}: ", "is not a PEM or DER private")),
    ],
)
def test_grpc_is_not_encrypted(
    arguments: tuple[str, ...], code: int, says: tuple[str, ...], grpc: tuple[str, str], told: Told
) -> None:
    found, err = told(grpc[0], "-i", "grpc", *arguments)
    assert found == code
    assert [words for words in says if words not in err] == [], err


def test_grpc_wants_a_certificate_of_its_client(grpc: tuple[str, str], told: Told) -> None:
    code, err = told(grpc[1], "-i", "grpc", GRPC, GRPC_CA, "ca.crt")
    assert code == SERVICE
    assert f"it may want a client's certificate ({GRPC_CERT} and {GRPC_KEY})" in err
