"""The client's own calls over HTTP/1.1, each with a connection of its own; what goes wrong is said in words."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runner.errors import ServiceError
from runner.services.access import CREDENTIALS, HANDSHAKE, NO_HTTP, NOBODY, RefusedError, closed_hint
from runner.services.names import is_unknown_model, nearest_model
from runner.services.tls import Tls


class HttpCalls:
    """Calls to one address. Where one says what it is `doing`, that is how an error begins: "could not …"."""

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float,
        headers: Sequence[tuple[str, str]],
        tls: Tls | None,
        models: Callable[[], Sequence[str]],
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._headers = dict(headers)
        self._tls = tls
        self._models = models

    def agrees(self, path: str, doing: str, model: str) -> bool:
        """Whether the server answers a GET with 200; False, too, while nothing answers."""
        try:
            status, _, body = self._exchange("GET", path, self._timeout_s)
        except ConnectionError:
            return False
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error, doing, self._timeout_s) from error
        if status in (401, 403):
            raise self._refusal(status, body, doing, model)
        return status == 200

    def read(self, method: str, path: str, doing: str, model: str = "", body: bytes | None = None) -> Any:
        """The JSON of the answer."""
        _, content = self.reach(method, path, doing, model, body)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ServiceError(
                f"could not {doing} at {self._address}: the answer is not JSON",
                hint="this server does not speak Triton's KServe v2",
            ) from error

    def command(self, path: str, document: Mapping[str, Any], doing: str, model: str = "") -> None:
        """Ask for a change."""
        self.reach("POST", path, doing, model, json.dumps(document).encode())

    def reach(
        self,
        method: str,
        path: str,
        doing: str,
        model: str = "",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> tuple[http.client.HTTPMessage, bytes]:
        """Headers and body of the answer, whose status is 200."""
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            status, answered, content = self._exchange(method, path, limit_s, body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error, doing, limit_s) from error
        if status != 200:
            raise self._refusal(status, content, doing, model)
        return answered, content

    def _exchange(
        self,
        method: str,
        path: str,
        timeout_s: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = _connection(self._address, self._tls, timeout_s)
        try:
            connection.request(method, path, body, {**self._headers, **(headers or {})})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def _unreachable(self, error: Exception, doing: str, limit_s: float) -> ServiceError:
        where = f"could not {doing} at {self._address}"
        if isinstance(error, TimeoutError):
            return ServiceError(
                f"{where}: no answer within {limit_s:g} s",
                hint="the server accepts connections but does not answer; look at its log and its load",
            )
        if type(error).__module__ == "ssl" or "SSL" in str(error):
            return RefusedError(f"{where}: {error}", hint=HANDSHAKE)
        if isinstance(error, http.client.BadStatusLine) and not isinstance(error, ConnectionError):
            return RefusedError(f"{where}: what answers there speaks no HTTP", hint=NO_HTTP)
        what = f"{where}: {str(error) or type(error).__name__}"
        if isinstance(error, ConnectionResetError):
            return ServiceError(what, hint=closed_hint(self._tls is not None))
        return ServiceError(what, hint=NOBODY)

    def _refusal(self, status: int, content: bytes, doing: str, model: str) -> ServiceError:
        """What the server says, in its own words where it has any."""
        try:
            said = str(json.loads(content)["error"])
        except (ValueError, KeyError, TypeError, RecursionError):
            said = content[:300].decode(errors="replace").strip()
        where = f"could not {doing} at {self._address}: HTTP {status}: {said}"
        if is_unknown_model(said):
            return ServiceError(where, hint=nearest_model(model, self._models))
        if status in (401, 403):
            return RefusedError(where, hint=CREDENTIALS)
        return ServiceError(where, hint="the server refused it; its log says more")


class _NamedHttps(http.client.HTTPSConnection):
    """A connection whose server may be certified under another name than its address."""

    def __init__(self, host: str, tls: Tls, timeout_s: float) -> None:
        self.tls_context = tls.context("http/1.1")
        self.server_name = tls.server_name
        super().__init__(host, timeout=timeout_s, context=self.tls_context)

    def connect(self) -> None:
        """Connect and shake hands."""
        http.client.HTTPConnection.connect(self)
        self.sock = self.tls_context.wrap_socket(self.sock, server_hostname=self.server_name or self.host)


def _connection(address: str, tls: Tls | None, timeout_s: float) -> http.client.HTTPConnection:
    return (
        http.client.HTTPConnection(address, timeout=timeout_s) if tls is None else _NamedHttps(address, tls, timeout_s)
    )
