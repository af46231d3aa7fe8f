"""Healthy TLS connections beside others whose peers reset them: reset_peers.py [mended]

Prints how many of a hundred replies come over five connections of one event loop (`replies: 100`), while twenty others
are reset as they are written to. With OpenSSL 3.4 or newer and Python's own handling of its errors, few do.
"""

import asyncio
import socket
import sys

from distributed import Security
from distributed.comm import connect, listen

from daskjobs.cluster.openssl import mend_openssl

HEALTHY, RESET = 5, 20
TALK = "talk"  # asks for so much that the connection is still written to when it is reset
AT_ONCE = b"\1\0\0\0\0\0\0\0"  # struct linger: a socket that is closed is reset


async def echo(comm: object) -> None:
    try:
        while True:
            message = await comm.read()  # type: ignore[attr-defined]
            for part in [b"x" * 100_000] * 50 if message == TALK else [message]:
                await comm.write(part)  # type: ignore[attr-defined]
    except OSError:
        return


async def replies() -> int:
    pair, came = Security.temporary(), 0
    async with listen("tls://127.0.0.1:0", echo, **pair.get_listen_args("scheduler")) as server:
        arguments = pair.get_connection_args("client")
        healthy = [await connect(server.contact_address, **arguments) for _ in range(HEALTHY)]
        for number in range(RESET):
            lost = await connect(server.contact_address, **arguments)
            await lost.write(TALK)
            lost.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            lost.abort()
            await asyncio.sleep(0.02)
            for comm in healthy:
                try:
                    await comm.write(number)
                    came += await asyncio.wait_for(comm.read(), 2) == number
                except (OSError, TimeoutError):
                    continue
    return came


if __name__ == "__main__":
    if "mended" in sys.argv:
        mend_openssl()
    print(f"replies: {asyncio.run(replies())}")  # distributed may still warn of the lost connections after it
