"""A TCP relay in front of a server, which counts what its clients send."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tests.support.ports import free_port

PART_BYTES = 64 * 1024


class Relay(socketserver.ThreadingTCPServer):
    """Relays to the server at `target`."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self.target = (parts.hostname or "", parts.port or 80)
        self.sent_bytes: list[int] = []
        """By connection."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(("127.0.0.1", port), _Connection)


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Relay)
        with socket.create_connection(self.server.target) as upstream:
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
def relaying(target: str) -> Iterator[Relay]:
    """A relay to `target` until the end of the block; then all of its connections are over."""
    with Relay(target) as relay:
        thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join()
