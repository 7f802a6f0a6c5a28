"""What ``forwarder.c`` does, where there is no C compiler:
``python -m benchmarks.slow_forwarder HOST PORT MICROSECONDS``, or ``/SOCKET -`` in
place of the first two.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import sys
from asyncio import StreamReader
from asyncio import StreamWriter
from contextlib import closing
from contextlib import suppress


async def pump(reader: StreamReader, writer: StreamWriter, delay: float) -> None:
    """Send each chunk ``delay`` after it was read; end with the last one."""
    loop = asyncio.get_running_loop()
    with closing(writer):
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                loop.call_later(delay, writer.write, chunk)
        await asyncio.sleep(delay)


async def serve(host: str, port: str, delay: float) -> None:
    async def take_in(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            if host.startswith("/"):
                far_reader, far_writer = await asyncio.open_unix_connection(host)
            else:
                far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()  # what the client of a server that is down sees
            return
        await asyncio.gather(
            pump(reader, far_writer, delay), pump(far_reader, writer, delay)
        )

    server = await asyncio.start_server(take_in, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)  # connections are left as they are: nobody is there any more


def main(host: str, port: str, microseconds: str) -> None:
    # epoll and poll wait whole milliseconds only; select does not.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    loop.run_until_complete(serve(host, port, int(microseconds) / 1_000_000))


if __name__ == "__main__":
    main(*sys.argv[1:])
