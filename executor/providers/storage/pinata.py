"""Pins content to IPFS at Pinata: its size is paid for, then it is uploaded where Pinata says (providers.md).

That address is whatever an answer named, so it is treated like a customer's URL: on the public internet, with
https, unless Pinata itself was set to a server of this machine.
"""

from typing import BinaryIO
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from executor.providers.base import Context, Task
from executor.providers.remote import text_of
from executor.providers.storage.base import GATEWAY, RemoteStorage, is_cid
from executor.storage.content import Content
from executor.storage.fetch import FetchOptions, public_session
from executor.storage.fetching.errors import FetchRefused
from executor.storage.fetching.urls import read_url
from executor.upstream.base import Order
from executor.upstream.errors import UpstreamLost
from shared.store import StoreResult

PAY_TIMEOUT_S = 30.0
UPLOAD_TIMEOUT_S = 60.0
MAX_ANSWER_BYTES = 64 * 1024
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Uploaded(StoreResult):
    """With Pinata's own id of the file."""

    id: str | None


class Pinata(RemoteStorage):
    """Content by its CID, to be had at any IPFS gateway. For how long, Pinata's answer does not say."""

    max_bytes = 100_000_000

    def __init__(self, context: Context, fetching: FetchOptions | None = None) -> None:
        super().__init__(context, "pinata")
        self._url = context.settings.pinata_url
        base = urlsplit(self._url)
        self._is_here = base.scheme == "http" and base.hostname in _LOOPBACK
        self._fetching = fetching or FetchOptions(self.max_bytes)

    async def _keep(self, task: Task, content: Content) -> StoreResult:
        body = {"fileSize": content.size_bytes, "name": content.name or "file", "keyvalues": {}}
        order = Order("POST", f"{self._url}/pin/public", step="pin", json=body, timeout_s=PAY_TIMEOUT_S)
        answer = await self._buy(task, order)
        url = self._checked(text_of(self._object(answer.body), "url"))
        said = self._object(await self._upload(url, content))
        file = said.get("data", said)
        cid = text_of(file, "cid", "IpfsHash") if isinstance(file, dict) else None
        if cid is None or not is_cid(cid):
            raise self._refused("answered an upload without a hash")
        own_id = text_of(file, "id")
        kept = self._kept(content, f"{GATEWAY}/{cid}", answer.receipt, cid=cid, id=own_id)
        return Uploaded.model_validate({**kept, "id": own_id})

    def _checked(self, text: str | None) -> URL:
        """The address to upload to. Raises `UpstreamRefused` for one that nothing is sent to."""
        if text is None:
            raise self._refused("answered without an address to upload to")
        try:
            url = URL(text) if self._is_here else read_url(text, self._fetching.ports)
        except (FetchRefused, ValueError):
            raise self._refused("named an address that nothing is sent to") from None
        if self._is_here and url.host not in _LOOPBACK:
            raise self._refused("named an address that nothing is sent to")
        if not self._is_here and url.scheme != "https":
            raise self._refused("named an address without https")
        return url

    async def _upload(self, url: URL, content: Content) -> bytes:
        """What the server at `url` says to the content. Raises `UpstreamRefused` and `UpstreamLost`."""
        session = aiohttp.ClientSession() if self._is_here else public_session(self._fetching)
        timeout = aiohttp.ClientTimeout(total=UPLOAD_TIMEOUT_S, sock_connect=self._fetching.connect_timeout_s)
        try:
            with content.path.open("rb") as file:
                async with (
                    session,
                    session.post(
                        url, data=_form(content, file), allow_redirects=False, timeout=timeout
                    ) as response,
                ):
                    if response.status not in (200, 201):
                        raise self._refused(f"answered an upload with {response.status}")
                    return await _read(response)
        except FetchRefused:
            raise self._refused("named an address that nothing is sent to") from None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            raise UpstreamLost("pinata was paid, and it is not known whether it has the content.") from None


def _form(content: Content, file: BinaryIO) -> aiohttp.FormData:
    """aiohttp reads the file while it is sent, in threads."""
    form = aiohttp.FormData()
    form.add_field("network", "public")
    name = content.name or "file"
    form.add_field("file", file, filename=name, content_type=content.content_type)
    return form


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The answer; cut off behind its limit, and then no JSON."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > MAX_ANSWER_BYTES:
            return b""
    return bytes(body)


def provider(context: Context) -> Pinata:
    return Pinata(context)
