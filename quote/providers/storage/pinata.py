"""A public file on IPFS by Pinata, priced by its size."""

from typing import Any

from quote.asks import StoreAsk
from quote.providers.base import Context, Decline
from quote.providers.keeping import size_class
from quote.providers.remote import Call, Probe, X402Provider

MAX_FILE_BYTES = 100_000_000
"""It names no cap; the executor sends it no more."""


class Pinata(X402Provider[StoreAsk]):
    """It does not say for how long it pins, so nothing permanent is left with it."""

    name = "pinata"
    kind = "storage"

    def probe(self, ask: StoreAsk) -> Probe:
        if ask.permanent:
            raise Decline("it does not promise to keep for good")
        if ask.file_size_bytes > MAX_FILE_BYTES:
            raise Decline(f"files over {MAX_FILE_BYTES} bytes are not sent there")
        size_bytes = size_class(ask.file_size_bytes)
        body = {"fileSize": size_bytes, "name": "file", "keyvalues": {}}
        return Probe(str(size_bytes), "POST", self._url, body)

    def call(self, ask: StoreAsk) -> Call:
        body = {"fileSize": "<bytes of your file>", "name": "<its name>", "keyvalues": {}}
        return Call("POST", self._url, body, then="upload your file to the URL in the answer")

    def metadata(self, ask: StoreAsk) -> dict[str, Any]:
        return {
            "file_size_bytes": ask.file_size_bytes,
            "priced_size_bytes": size_class(ask.file_size_bytes),
            "max_file_size_bytes": MAX_FILE_BYTES,
            "permanent": False,
            "ttl_s": None,
            "platform": "ipfs",
        }

    @property
    def _url(self) -> str:
        return f"{self.settings.pinata_url}/pin/public"


def provider(context: Context) -> Pinata:
    return Pinata(context)
