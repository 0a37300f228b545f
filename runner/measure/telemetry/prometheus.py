"""The numbers that a server exports for Prometheus, scraped over one kept-alive connection."""

from __future__ import annotations

import http.client
import urllib.parse
from collections.abc import Callable, Collection, Mapping, Sequence

from runner.measure.telemetry.base import Value
from runner.measure.telemetry.exposition import Sample, Selector, parse, series_name
from runner.scenario.secrets import redact_text

TIMEOUT_S = 1.0
MAX_BYTES = 16 * 2**20
_SERVER_PREFIX = "nv_"
_UNITS = {"us": "us", "ns": "ns", "ms": "ms", "seconds": "s", "bytes": "B", "watts": "W", "joules": "J"}


class PrometheusSource:
    """A `Source` of what an endpoint exports.

    Without `selectors` these are Triton's own series: those of `models`, and those of no model. With `selectors` they
    are taken as well, whoever exports them.
    """

    name = "prometheus"

    def __init__(
        self,
        url: str,
        *,
        selectors: Sequence[Selector] = (),
        models: Collection[str] | None = None,
        everything: bool = False,
        hide: Callable[[str], str] = str,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        self._host, self._secure = parts.netloc.rpartition("@")[2], parts.scheme == "https"
        self.url = redact_text(parts._replace(netloc=self._host).geturl())
        """As it is shown: without the password or the token that it may hold."""
        self._selectors, self._models, self._hide = selectors, models, hide
        self._everything, self._timeout_s = everything, timeout_s
        self._path = (parts.path or "/metrics") + (f"?{parts.query}" if parts.query else "")
        self._connection: http.client.HTTPConnection | None = None
        self._absent: dict[str, str] = {}

    def read(self) -> Mapping[str, Value]:
        """Scrape; a connection that the server closed meanwhile is made again once."""
        self._absent = {}
        try:
            text = self._scrape()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            self._absent = {self.name: f"{self.url}: {str(error) or type(error).__name__}"}
            return {}
        chosen = {self._named(s): _value(s) for s in parse(text) if self._wanted(s)}
        self._absent = dict.fromkeys(self._missing(chosen), f"{self.url} does not export it")
        if not chosen and not self._absent:
            self._absent = {self.name: f"{self.url} exports none of the series of this server"}
        return chosen

    def absent(self) -> Mapping[str, str]:
        return self._absent

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _scrape(self) -> str:
        if self._connection is not None:
            try:
                return self._get(self._connection)
            except (ConnectionError, http.client.RemoteDisconnected, http.client.BadStatusLine):
                self.close()
        make = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        self._connection = make(self._host, timeout=self._timeout_s)
        return self._get(self._connection)

    def _get(self, connection: http.client.HTTPConnection) -> str:
        connection.request("GET", self._path, headers={"Accept": "text/plain; version=0.0.4"})
        response = connection.getresponse()
        body = response.read(MAX_BYTES + 1)
        if response.status != 200:
            raise ValueError(f"HTTP status {response.status}")
        if len(body) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES >> 20} MiB of metrics")
        return body.decode("utf-8", "replace")

    def _wanted(self, sample: Sample) -> bool:
        if any(selector.matches(sample.name, sample.labels) for selector in self._selectors):
            return True
        if sample.bucket:
            return False
        if self._everything:
            return True
        model = sample.labels.get("model")
        ours = self._models is None or model is None or model in self._models
        return ours and sample.name.startswith(_SERVER_PREFIX)

    def _missing(self, found: Mapping[str, Value]) -> list[str]:
        wishes = {series_name(s.name, s.labels): s for s in self._selectors}
        return [name for name, wish in wishes.items() if not any(wish.matches_series(series) for series in found)]

    def _named(self, sample: Sample) -> str:
        """With identifiers of GPUs hidden, in whatever label they stand."""
        return series_name(sample.name, {key: self._hide(value) for key, value in sample.labels.items()})


def _value(sample: Sample) -> Value:
    words = sample.name.removesuffix("_total").rsplit("_", 1)
    return Value(sample.value, _UNITS.get(words[-1], ""), sample.kind)
