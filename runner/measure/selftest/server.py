"""A gRPC server that does what a script says, in a process of its own: `python -m runner.measure.selftest.server`.

Arguments: the script (JSON), the right answer and a wrong one (ModelInferResponse, base64). It prints its port, answers
each line on its standard input with its counters, and ends when that is closed, so that it never outlives its parent.
One event loop; timers of `select` are good to about 0.1 ms, and how late each answer left is counted.
"""

from __future__ import annotations

import asyncio
import base64
import json
import selectors
import socket
import sys
from collections.abc import Iterator

from runner.measure.selftest.script import Outcome, Queue, Script
from runner.results.histogram import Histogram

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADER = 9
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_MOST = (1 << 31) - 1
_WINDOW_SETTING = (4).to_bytes(2, "big") + _MOST.to_bytes(4, "big")
_STREAMS_SETTING = (3).to_bytes(2, "big") + (100_000).to_bytes(4, "big")
# HPACK (RFC 7541): ":status: 200" is entry 8 of the static table; the others are literals with a new name.
_HEAD = b"\x88\x00\x0ccontent-type\x10application/grpc"
_FINE, _UNAVAILABLE = b"\x00\x0bgrpc-status\x010", b"\x00\x0bgrpc-status\x0214\x00\x0cgrpc-message\x08scripted"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One HTTP/2 frame (RFC 9113)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def frames(buffer: bytearray) -> Iterator[tuple[int, int, int, bytes]]:
    """Take whole frames off the buffer: kind, flags, stream, payload."""
    while len(buffer) >= _HEADER:
        end = _HEADER + int.from_bytes(buffer[:3], "big")
        if len(buffer) < end:
            return
        head, payload = bytes(buffer[:_HEADER]), bytes(buffer[_HEADER:end])
        del buffer[:end]
        yield head[3], head[4], int.from_bytes(head[5:9], "big") & _MOST, payload


class Connection(asyncio.Protocol):
    """One client connection; request headers are not looked at, because every call is the same."""

    def __init__(self, server: Server) -> None:
        self.server, self.buffer, self.greeted = server, bytearray(), False
        self.cancelled: set[int] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.write(frame(_SETTINGS, 0, 0, _WINDOW_SETTING + _STREAMS_SETTING))
        transport.write(frame(_WINDOW_UPDATE, 0, 0, (_MOST - 65_535).to_bytes(4, "big")))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.greeted:
            if len(self.buffer) < len(_PREFACE):
                return
            del self.buffer[: len(_PREFACE)]
            self.greeted = True
        for kind, flags, stream, payload in frames(self.buffer):
            self._frame(kind, flags, stream, payload)
        self.server.arm()

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            if payload:
                self.transport.write(frame(_WINDOW_UPDATE, 0, 0, len(payload).to_bytes(4, "big")))
            if flags & _END_STREAM:
                self.server.queue.arrive(self.server.loop.time(), (self, stream))
        elif kind == _RST_STREAM:
            self.cancelled.add(stream)
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            self.transport.write(frame(kind, _ACK, 0, payload if kind == _PING else b""))

    def answer(self, stream: int, outcome: Outcome, message: bytes) -> None:
        """Headers, message and trailers, or trailers that refuse; nothing for a call that was given up."""
        if stream in self.cancelled or self.transport.is_closing():
            return
        if outcome == "error":
            self.transport.write(frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, _HEAD + _UNAVAILABLE))
            return
        body = b"\0" + len(message).to_bytes(4, "big") + message
        self.transport.write(
            frame(_HEADERS, _END_HEADERS, stream, _HEAD)
            + frame(_DATA, 0, stream, body)
            + frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, _FINE)
        )


class Server:
    """The queue, its clock, and what it has to tell."""

    def __init__(self, script: Script, right: bytes, wrong: bytes) -> None:
        self.loop = asyncio.get_running_loop()
        self.queue, self.right, self.wrong = Queue(script), right, wrong
        self.timer: asyncio.TimerHandle | None = None
        self.late_ns: list[int] = []

    def arm(self) -> None:
        """Answer what is due and set the clock for what is next."""
        if self.timer is not None:
            self.timer.cancel()
        now = self.loop.time()
        for due, token, outcome in self.queue.take(now):
            self._answer(due, token, outcome)
        following = self.queue.next_s()
        self.timer = None if following is None else self.loop.call_at(following, self.arm)

    def _answer(self, due_s: float, token: object, outcome: Outcome) -> None:
        assert isinstance(token, tuple)
        connection, stream = token
        if outcome != "lost":
            connection.answer(stream, outcome, self.wrong if outcome == "wrong" else self.right)
            self.late_ns.append(int((self.loop.time() - due_s) * 1e9))

    def report(self) -> str:
        """Counters since the start, and how late answers left."""
        late = Histogram.from_values(self.late_ns)
        quantiles = {f"late_p{q}_ms": late.quantile(q / 100) / 1e6 if late.count else 0.0 for q in (50, 99)}
        mean = late.mean_ns / 1e6 if late.count else 0.0
        return json.dumps({**self.queue.counts, "batches": self.queue.batches, "late_mean_ms": mean, **quantiles})


async def serve(script: Script, right: bytes, wrong: bytes) -> None:
    """Until standard input is closed."""
    loop = asyncio.get_running_loop()
    server = Server(script, right, wrong)
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        print(server.report(), flush=True)
    listening.close()


def main() -> None:
    """The process."""
    script, right, wrong = sys.argv[1:]
    # epoll counts whole milliseconds; select takes microseconds.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(serve(Script(**json.loads(script)), base64.b64decode(right), base64.b64decode(wrong)))


if __name__ == "__main__":
    main()
