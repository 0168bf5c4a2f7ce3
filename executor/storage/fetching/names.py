"""From a name to a connection, with nothing in between: what is checked is what is connected to.

aiohttp asks the resolver once for each connection and connects to what it answered. So a name that changes
its answer is judged by the answer that is used, and nobody looks it up a second time.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from aiohttp.abc import AbstractResolver, ResolveResult

from executor.storage.fetching.addresses import is_public
from executor.storage.fetching.errors import FetchRefused

MAX_ADDRESSES = 8

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""All addresses of a name. Raises `OSError` when it has none."""
AddressInfo = tuple[
    int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]
]
OpenSocket = Callable[[AddressInfo], socket.socket]
"""A new socket, not connected, for an address as `socket.getaddrinfo` describes it."""


async def system_lookup(name: str) -> list[str]:
    """What the machine's resolver says."""
    found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def plain_socket(info: AddressInfo) -> socket.socket:
    return socket.socket(*info[:3])


class PublicResolver(AbstractResolver):
    """Looks a name up, and refuses it unless every one of its addresses is public."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises `FetchRefused`, and `OSError` when the name has no address."""
        addresses = await self._lookup(host)
        if not addresses:
            raise OSError("the name has no address")
        if not all(map(is_public, addresses)):
            raise FetchRefused("a URL's host is on the public internet, with all of its addresses")
        return [_result(host, address, port) for address in addresses[:MAX_ADDRESSES]]

    async def close(self) -> None:
        """Nothing is kept."""


def public_sockets(open_socket: OpenSocket) -> OpenSocket:
    """`open_socket` for public addresses only: the last look, whoever chose the address.

    An `OSError` otherwise, which connecting code takes for an address that cannot be reached.
    """

    def opened(info: AddressInfo) -> socket.socket:
        if not is_public(info[4][0]):
            raise PermissionError("the address is not public")
        return open_socket(info)

    return opened


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=numeric)
