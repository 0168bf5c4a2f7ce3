"""Ports for servers under test, handed out so that no two test processes of a machine get the same one.

A port that is only found free and let go may be taken before the server binds it: by another test process,
or by any outgoing connection, whose own port the system picks from its ephemeral range. So each test process
claims a block below that range, by listening at its first port for as long as the process lives.
"""

import random
import socket
import threading
from collections.abc import Iterator

FIRST, LAST, BLOCK = 10_000, 32_000, 100
_claims: list[socket.socket] = []
_lock = threading.Lock()


def free_port() -> int:
    """A port on 127.0.0.1 where nobody listens, which this process has not handed out before."""
    with _lock:
        return next(_ports)


def _hand_out() -> Iterator[int]:
    while True:
        claim = _claim()
        _claims.append(claim)
        base = int(claim.getsockname()[1])
        yield from filter(_is_free, range(base + 1, base + BLOCK))


def _claim() -> socket.socket:
    """A socket that listens at the start of a block. `OSError` when all blocks are taken."""
    bases = list(range(FIRST, LAST, BLOCK))
    random.shuffle(bases)
    for base in bases:
        try:
            return socket.create_server(("127.0.0.1", base))
        except OSError:
            continue
    raise OSError(f"all ports from {FIRST} to {LAST} are claimed by other test processes")


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


_ports = _hand_out()
