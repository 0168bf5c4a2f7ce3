"""A TCP relay in front of one server or of several alike, which counts what its clients send."""

import itertools
import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tests.support.ports import free_port

PART_BYTES = 64 * 1024


class Relay(socketserver.ThreadingTCPServer):
    """Relays to the servers at `targets`: each connection to the next one that can be reached."""

    request_queue_size = 128

    def __init__(self, *targets: str) -> None:
        self.targets = list(targets)
        """May be changed at any time, as names come to stand for other addresses."""
        self.taken: Counter[str] = Counter()
        """Connections by target."""
        self.sent_bytes: list[int] = []
        """By connection."""
        self._turns = itertools.count()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(("127.0.0.1", port), _Connection)

    def connect(self) -> socket.socket:
        """To the next target. Raises `OSError` when none can be reached."""
        turn = next(self._turns)
        for number in range(len(self.targets)):
            target = self.targets[(turn + number) % len(self.targets)]
            parts = urlsplit(target)
            with suppress(OSError):
                connection = socket.create_connection((parts.hostname, parts.port or 80), timeout=5)
                connection.settimeout(None)
                self.taken[target] += 1
                return connection
        raise ConnectionRefusedError


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Relay)
        try:
            connection = self.server.connect()
        except OSError:
            return
        with connection as upstream:
            back = threading.Thread(target=_pass_on, args=(upstream, self.request))
            back.start()
            self.server.sent_bytes.append(_pass_on(self.request, upstream))
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> int:
    """Everything until the source has no more, or the target takes no more; its size."""
    size_bytes = 0
    with suppress(OSError):
        while part := source.recv(PART_BYTES):
            size_bytes += len(part)
            target.sendall(part)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
    return size_bytes


@contextmanager
def relaying(*targets: str) -> Iterator[Relay]:
    """A relay to `targets` until the end of the block; then all of its connections are over."""
    with Relay(*targets) as relay:
        thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join()
