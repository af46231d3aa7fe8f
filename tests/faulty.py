"""A storage's bad days: a TCP proxy in front of an S3 server, that does what a file says at any time.

python faulty.py LISTEN TARGET FILE, both as host:port. The file holds what it does, each on a line; nothing at first:

    refuse          every connection is closed, new ones and those that there are
    hold TEXT       a request with TEXT in it waits, for as long as the file says so; `held TEXT` is printed
    slow BYTES      so many bytes a second, in each direction of each connection
    fail STATUS     each request is answered with this status (`fail 403 Forbidden`)
    cut TEXT        the answer to the first request with TEXT in it ends in its middle
"""

import asyncio
import sys
from pathlib import Path

CHUNK = 65536


class Proxy:
    def __init__(self, target: str, control: Path) -> None:
        self.target, self.control = target.rsplit(":", 1), control
        self.been_cut = set[str]()

    def told(self) -> dict[str, list[str]]:
        rules: dict[str, list[str]] = {}
        for line in self.control.read_text().splitlines() if self.control.exists() else []:
            word, _, rest = line.partition(" ")
            rules.setdefault(word, []).append(rest)
        return rules

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if "refuse" in self.told():
            writer.transport.abort()
            return
        try:
            back_reader, back_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        cut = asyncio.Event()
        forth = asyncio.create_task(self.requests(reader, back_writer, writer, cut))
        back = asyncio.create_task(self.answers(back_reader, writer, cut))
        watch = asyncio.create_task(self.refusal())
        await asyncio.wait([forth, back, watch], return_when=asyncio.FIRST_COMPLETED)
        for task in (forth, back, watch):
            task.cancel()
        for each in (writer, back_writer):
            each.transport.abort() if watch.done() else each.close()

    async def refusal(self) -> None:
        while "refuse" not in self.told():
            await asyncio.sleep(0.1)

    async def requests(
        self,
        reader: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        cut: asyncio.Event,
    ) -> None:
        while data := await reader.read(CHUNK):
            told = self.told()
            for what in told.get("hold", []):
                if what.encode() in data:
                    print(f"held {what}", flush=True)
                    while what in self.told().get("hold", []):
                        await asyncio.sleep(0.05)
            for what in told.get("cut", []):
                if what.encode() in data and what not in self.been_cut:
                    self.been_cut.add(what)
                    cut.set()
            for status in told.get("fail", []):
                client.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                await client.drain()
                return
            for rate in told.get("slow", []):
                await asyncio.sleep(len(data) / int(rate))
            target.write(data)
            await target.drain()

    async def answers(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        while data := await reader.read(CHUNK):
            for rate in self.told().get("slow", []):
                await asyncio.sleep(len(data) / int(rate))
            client.write(data[: len(data) // 2] if cut.is_set() else data)
            await client.drain()
            if cut.is_set():
                return


async def main(listen: str, target: str, control: str) -> None:
    host, port = listen.rsplit(":", 1)
    server = await asyncio.start_server(Proxy(target, Path(control)).serve, host, int(port))
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
