"""Storage on this host's own disk: per GB and day, or once per GB for good."""

from typing import Any

from quote.asks import StoreAsk
from quote.providers.base import Context, Decline, EmbeddedProvider
from shared.http import MB
from shared.money import ceil_div

GB = 10**9
DAY_S = 86400
OVERHEAD_BYTES = 64 * 1024
"""What an upload may be longer than its file: it is priced by its own length."""


class LocalStorage(EmbeddedProvider[StoreAsk]):
    name = "local"
    kind = "storage"

    def atomic(self, ask: StoreAsk) -> int:
        book = self.settings
        if ask.file_size_bytes > book.max_upload_mb * MB + OVERHEAD_BYTES:
            raise Decline(f"files over {book.max_upload_mb} MB are not taken")
        if ask.permanent:
            return book.store_base_atomic + ceil_div(book.store_gb_permanent_atomic * ask.file_size_bytes, GB)
        return book.store_base_atomic + ceil_div(
            book.store_gb_day_atomic * ask.file_size_bytes * ask.ttl_s, GB * DAY_S
        )

    def metadata(self, ask: StoreAsk) -> dict[str, Any]:
        return {
            "file_size_bytes": ask.file_size_bytes,
            "permanent": ask.permanent,
            "ttl_s": None if ask.permanent else ask.ttl_s,
        }


def provider(context: Context) -> LocalStorage:
    return LocalStorage(context)
