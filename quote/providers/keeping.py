"""What the remote sellers of storage have in common: sizes that are asked for, what cannot be deleted."""

from quote.asks import StoreAsk
from shared.money import ceil_div
from shared.quotes import Refusal

KIB = 1024
CHUNK_BYTES = 256 * KIB
"""What Arweave stores, and counts, at a time."""

KEEPS_FOR_GOOD = Refusal(
    code="keeps_for_good",
    reason="nothing can be deleted there: it is sold to those who want it permanent, or name the provider",
)


def size_class(size_bytes: int) -> int:
    """The size that a file's price is asked for, at least its own: few sizes, so that few are asked.

    A power of two from 1 KiB to 256 KiB, then multiples of 256 KiB.
    """
    if size_bytes > CHUNK_BYTES:
        return ceil_div(size_bytes, CHUNK_BYTES) * CHUNK_BYTES
    return max(KIB, 1 << max(size_bytes - 1, 0).bit_length())


def refusal_of_keeping(ask: StoreAsk, name: str) -> Refusal | None:
    """What cannot be deleted is nothing to choose for somebody who wants it kept for an hour."""
    return None if ask.permanent or ask.provider == name else KEEPS_FOR_GOOD
