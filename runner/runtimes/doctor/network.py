"""Ports that the scenario fixes, and what stands between this machine and the network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from runner.runtimes.findings import Finding
from runner.scenario.secrets import redact_text

PROXIES = ("http_proxy", "https_proxy", "all_proxy")
BUNDLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name certificates of authorities."""


def findings(environment: Mapping[str, str], *, downloads: bool) -> Iterator[Finding]:
    """All checks; a mistake is a fault only where setup downloads something."""
    yield proxies(environment)
    yield certificates(environment, downloads=downloads)


def proxies(environment: Mapping[str, str]) -> Finding:
    """Clients of this tool go to servers directly; what setup downloads goes through the proxy."""
    found = {name: value for name, value in environment.items() if name.lower() in PROXIES and value}
    if not found:
        return Finding("proxy", "ok", "none set")
    listed = ", ".join(f"{name}={redact_text(value)}" for name, value in sorted(found.items()))
    odd = [value for value in found.values() if "://" not in value]
    if odd:
        remedy = "write them as http://HOST:PORT"
        return Finding("proxy", "warn", f"{listed}: without a scheme some programs ignore it", remedy)
    return Finding("proxy", "ok", f"downloads go through {listed}")


def certificates(
    environment: Mapping[str, str], *, downloads: bool, exists: Callable[[str], bool] = os.path.exists
) -> Finding:
    """A bundle that is not there makes every https connection fail."""
    named = {name: environment[name] for name in BUNDLES if environment.get(name)}
    for name, path in named.items():
        if not exists(path):
            detail, remedy = (
                f"{name} names {path}, which does not exist",
                f"unset {name}, or name the file that is there",
            )
            return Finding("certificates", "fail" if downloads else "warn", detail, remedy)
    listed = ", ".join(f"{name}={path}" for name, path in named.items())
    return Finding("certificates", "ok", listed or "the system's own")


def ports(fixed: Mapping[str, int]) -> Finding:
    """Ports that `server.flags` fixes, tried and given back."""
    from runner.errors import RigError
    from runner.runtimes.ports import choose_ports

    if not fixed:
        return Finding("ports", "ok", "free ones are chosen")
    try:
        choose_ports(fixed)
    except RigError as error:
        return Finding("ports", "fail", error.message, error.hint)
    return Finding("ports", "ok", ", ".join(f"{kind} {port} is free" for kind, port in fixed.items()))
