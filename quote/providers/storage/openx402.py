"""A pin on IPFS by openx402.ai, for the same price whatever the size."""

from typing import Any

from quote.asks import StoreAsk
from quote.providers.base import Context, Decline
from quote.providers.remote import Call, Probe, X402Provider

MAX_FILE_BYTES = 100_000_000


class OpenX402(X402Provider[StoreAsk]):
    """It does not say for how long it pins, so nothing permanent is left with it."""

    name = "openx402"
    kind = "storage"

    def probe(self, ask: StoreAsk) -> Probe:
        if ask.permanent:
            raise Decline("it does not promise to keep for good")
        if ask.file_size_bytes > MAX_FILE_BYTES:
            raise Decline(f"files over {MAX_FILE_BYTES} bytes are not taken")
        return Probe("pin", "GET", f"{self.settings.openx402_url}/pin/quote_request")

    def call(self, ask: StoreAsk) -> Call:
        url = f"{self.settings.openx402_url}/pin/file"
        return Call("POST", url, {"file": "<your file>"}, content_type="multipart/form-data")

    def metadata(self, ask: StoreAsk) -> dict[str, Any]:
        return {
            "file_size_bytes": ask.file_size_bytes,
            "permanent": False,
            "ttl_s": None,
            "max_file_size_bytes": MAX_FILE_BYTES,
            "platform": "ipfs",
        }


def provider(context: Context) -> OpenX402:
    return OpenX402(context)
