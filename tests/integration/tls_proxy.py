"""TLS in front of a server that speaks none: what Triton's HTTP endpoint stands behind wherever it is encrypted."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def encrypted(address: str, context: ssl.SSLContext) -> Iterator[int]:
    """A port of this machine that takes TLS connections and hands their bytes on to `address`, host:port."""
    host, _, port = address.rpartition(":")

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_pump(reader, behind_writer), _pump(behind_reader, writer))

    loop = asyncio.new_event_loop()
    # Failed handshakes are what some tests are about.
    loop.set_exception_handler(lambda *_: None)
    server = loop.run_until_complete(asyncio.start_server(hand_on, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        _drop(loop)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


def _drop(loop: asyncio.AbstractEventLoop) -> None:
    """End what is still open."""
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
