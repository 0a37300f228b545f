"""Errors of the translated scenario in the words of the command line: nobody wrote that file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.perf.options import PERF_ANALYZER
from runner.cli.perf.parsed import PerfOptions
from runner.cli.perf.parsing import mistakes_error
from runner.errors import RunnerError, ScenarioError

if TYPE_CHECKING:
    from runner.scenario.diagnostics import Diagnostic

_AXES = "matrix.axes."
_ADDRESS = re.compile(r"\b(?:workload|load|measure|targets)(?:\.[a-z_]+)+")


@contextmanager
def told_by_options(options: PerfOptions, file: Path) -> Iterator[None]:
    """Whatever is raised about the scenario in `file` names options.

    Raises:
        UsageError: in place of a mistake in the scenario.
        RunnerError: any other, with options where it had their addresses.
    """
    try:
        yield
    except ScenarioError as error:
        if all(each.file != str(file) for each in error.diagnostics):
            raise
        hints = dict.fromkeys(each.hint for each in error.diagnostics if each.hint)
        told = [_told(each, options, file) for each in error.diagnostics]
        raise mistakes_error(told, options.tool, hint="; ".join(hints) or None) from error
    except RunnerError as error:
        error.message = _ADDRESS.sub(lambda found: _named(found[0], options), error.message)
        error.hint = _hint(error.hint, options)
        raise


def options_behind(address: str, options: PerfOptions) -> tuple[str, ...]:
    """Of the options that were given those that became what stands at an address, around it or else below it."""
    address = address.removeprefix(_AXES)
    around = address
    while around:
        if found := tuple(name for name, known in _became(options) if known == around):
            return found
        around = around.rpartition(".")[0]
    return tuple(dict.fromkeys(name for name, known in _became(options) if known.startswith(f"{address}.")))


def _became(options: PerfOptions) -> Iterator[tuple[str, str]]:
    """Option -> each address that it may become; those of the protocol that is not spoken change nothing."""
    unused = "--ssl-https-" if options.protocol == "grpc" else "--ssl-grpc-"
    forms = PERF_ANALYZER.forms()
    for name in dict.fromkeys(options.given):
        if name in forms and not name.startswith(unused):
            yield from ((name, address) for address in forms[name].addresses)


def _told(mistake: Diagnostic, options: PerfOptions, file: Path) -> str:
    if mistake.file != str(file):
        return f"{mistake.file} {mistake.address}: {mistake.message}"
    if names := options_behind(mistake.address, options):
        return f"{_listed(names)}: {mistake.message}"
    line = (mistake.source_line or "").strip()
    return f"{mistake.address or 'scenario'}: {mistake.message}; the options became `{line}` there"


def _named(address: str, options: PerfOptions) -> str:
    """Options in place of an address; itself where there are none, as `--set` reaches it."""
    return _listed(options_behind(address, options)) or address


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _hint(hint: str | None, options: PerfOptions) -> str | None:
    from runner.services import access

    grpc = options.protocol == "grpc"
    ours = {
        access.HANDSHAKE: f"the TLS handshake failed: see {_GRPC_TLS if grpc else _HTTPS_TLS}; --set "
        "workload.tls.server_name=NAME takes a certificate of another name",
        access.NO_IDENTITY: "the server takes the connection and closes it: it may want a client's certificate "
        f"({_GRPC_IDENTITY if grpc else _HTTPS_IDENTITY})",
        access.CLEAR_TEXT: "the server takes the connection and closes it: it may speak another protocol there (-i), "
        f"or want TLS ({'--ssl-grpc-use-ssl' if grpc else '-u https://host:port'})",
        access.CREDENTIALS: "the server wants other credentials: see -H",
    }
    return None if hint is None else ours.get(hint) or _ADDRESS.sub(lambda found: _named(found[0], options), hint)


_GRPC_IDENTITY = "--ssl-grpc-certificate-chain-file and --ssl-grpc-private-key-file"
_HTTPS_IDENTITY = "--ssl-https-client-certificate-file and --ssl-https-private-key-file"
_GRPC_TLS = f"--ssl-grpc-root-certifications-file, {_GRPC_IDENTITY}"
_HTTPS_TLS = f"--ssl-https-ca-certificates-file, --ssl-https-verify-peer, {_HTTPS_IDENTITY}"
