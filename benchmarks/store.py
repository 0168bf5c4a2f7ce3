"""A paid upload of 60 MB through the broker and the executor, against a plain write of the same file.

Broker and executor are uvicorn processes of their own (uvloop, httptools, one worker); quote and facilitator
answer at once. The price was asked for before: what is timed is the paid request, from its first byte to the
end of its answer. The plain write reads the file as the client does, hashes it once (SHA-256), and has it on
the same disk (fsync). Rounds alternate, each with new content; what is printed is a ratio of medians.

Then, while 90 MB are stored, the most memory that each of the two services takes.

`python benchmarks/store.py [--rounds N] [--only speed|memory]`; the exit code is 1 when a target is missed.
"""

import argparse
import hashlib
import json
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

from _measure import FACTORY, Server, broker_settings, compare, judge, starting
from _payer import REQUIRED, Payer

MB = 1024 * 1024
SPEED_BYTES, MEMORY_BYTES = 60 * MB, 90 * MB
BOUNDARY = secrets.token_hex(16)
"""As httpx makes it. The parser skips through the content by its length."""
HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="ttl"\r\n\r\n60\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
).encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()
TIMEOUT_S = 60

UPLOAD_VS_WRITE = 3.0
PEAK_MB = 150


class File:
    """A file of random bytes in `folder`, and its SHA-256."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.path = folder / "source"
        self.size_bytes = size_bytes
        self.path.write_bytes(secrets.token_bytes(size_bytes))
        self.renew()

    def renew(self) -> None:
        """Make it another one, that nobody has stored yet."""
        with self.path.open("r+b") as file:
            file.write(secrets.token_bytes(16))
            file.seek(0)
            self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()


class Client:
    """Pays for uploads to a broker. The file goes out by `sendfile`, which costs next to nothing."""

    def __init__(self, broker: Server) -> None:
        self._broker = broker
        self._payer = Payer()

    def upload_s(self, file: File) -> float:
        """Seconds that the paid request takes."""
        (paid,) = self._payer.headers(self._price(file))
        head = self._head(file, **paid)
        with file.path.open("rb") as source, self._connected() as connection:
            began = time.perf_counter()
            connection.sendall(head)
            connection.sendfile(source)
            connection.sendall(TAIL)
            answer = _answer(connection)
            text = answer.read().decode()
            took_s = time.perf_counter() - began
        if answer.status != 200 or json.loads(text)["result"]["sha256"] != file.sha256:
            sys.exit(f"not stored: {text[:2000]}\n{self._broker.log.read_text()[-2000:]}")
        return took_s

    def _price(self, file: File) -> str:
        """What is asked for it: that depends on its length and the fields, and is told before it is sent."""
        with self._connected() as connection:
            connection.sendall(self._head(file))
            return _answer(connection).headers[REQUIRED]

    def _head(self, file: File, **headers: str) -> bytes:
        """The request up to where the file begins."""
        given = {
            "Host": f"127.0.0.1:{self._broker.port}",
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
            "Content-Length": str(len(HEAD) + file.size_bytes + len(TAIL)),
            **headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        return f"POST /store HTTP/1.1\r\n{lines}\r\n".encode() + HEAD

    def _connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._broker.port), TIMEOUT_S)


def _answer(connection: socket.socket) -> HTTPResponse:
    """An answer whose body is still to be read."""
    answer = HTTPResponse(connection)
    answer.begin()
    return answer


def write_s(file: File, place: Path) -> float:
    """Seconds that it takes to write the file to `place` and hash it."""
    digest = hashlib.sha256()
    began = time.perf_counter()
    with file.path.open("rb", buffering=0) as source, place.open("xb", buffering=0) as written:
        while piece := source.read(MB):
            written.write(piece)
            digest.update(piece)
        os.fsync(written.fileno())
    took_s = time.perf_counter() - began
    place.unlink()
    if digest.hexdigest() != file.sha256:
        sys.exit("the file was not written whole")
    return took_s


@contextmanager
def services(home: Path) -> Iterator[tuple[Server, Server]]:
    """Broker and executor."""
    with starting(home) as start:
        neighbours = start("neighbours", "_servers:neighbours", *FACTORY)
        executor = start("executor", "executor.main:app", GALAKSIO_HOME=str(home))
        neighbours.wait_ready()
        settings = broker_settings(home, neighbours.url, EXECUTOR_SERVICE_URL=executor.url)
        broker = start("broker", "broker.main:app", **settings)
        for server in (executor, broker):
            server.wait_ready()
        yield broker, executor


def speed(rounds: int, folder: Path, client: Client) -> bool:
    file = File(folder, SPEED_BYTES)

    def renewed(measure: Callable[[], float]) -> Callable[[], float]:
        def measured() -> float:
            file.renew()
            return measure()

        return measured

    seconds = compare(
        rounds,
        {
            "write": renewed(lambda: write_s(file, folder / "written")),
            "upload": renewed(lambda: client.upload_s(file)),
        },
    )
    name = f"paid upload of {SPEED_BYTES // MB} MB / plain write + SHA-256"
    return judge(name, seconds["upload"] / seconds["write"], UPLOAD_VS_WRITE, at_most=True)


def memory(folder: Path, client: Client, servers: tuple[Server, ...]) -> list[bool]:
    for server in servers:
        server.forget_peak()
    client.upload_s(File(folder, MEMORY_BYTES))
    return [
        judge(
            f"peak memory of the {server.log.stem} while {MEMORY_BYTES // MB} MB are stored",
            server.peak_kb() / 1024,
            PEAK_MB,
            at_most=True,
            unit=" MB",
        )
        for server in servers
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Paid uploads against plain writes, and what they take.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=["speed", "memory"])
    options = parser.parse_args()
    good = []
    with tempfile.TemporaryDirectory() as folder, services(Path(folder)) as (broker, executor):
        client = Client(broker)
        if options.only != "memory":
            good.append(speed(options.rounds, Path(folder), client))
        if options.only != "speed":
            good += memory(Path(folder), client, (broker, executor))
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
