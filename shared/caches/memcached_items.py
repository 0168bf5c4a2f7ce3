"""What a cache is made of in Memcached, as bytes.

    gx:<id>:m        the cache: region, times, operations bought, the job that made it, the payments
    gx:<id>:n        operations used, a counter
    gx:<id>:u        bytes used, a counter
    gx:<id>:i<n>     one of sixteen parts of the index: name -> [bytes, when it expires]
    gx:<id>:k:<hash> a key: its name, when it expires, its value
    gx:j:<hash>      the cache that a job made

Memcached forgets the least used when it is full, whatever it is, and all when it ends. All expire with the
cache. Times are Unix milliseconds.
"""

import hashlib
import json
import math
from dataclasses import dataclass, field

PARTS = 16
PART_MAX_BYTES = 900_000
"""Less than the 1 MiB that an item may have."""

Names = dict[str, tuple[int, int | None]]
"""A part of the index: name -> (bytes, when it expires)."""


@dataclass(frozen=True, slots=True)
class Meta:
    region: str
    created_ms: int
    ends_ms: int | None
    operations: int
    job_id: str
    payments: dict[str, int] = field(default_factory=dict)

    def packed(self) -> bytes:
        fields = [self.region, self.created_ms, self.ends_ms, self.operations, self.job_id, self.payments]
        return json.dumps(fields).encode()


def unpacked_meta(data: bytes) -> Meta:
    return Meta(*json.loads(data))


@dataclass(frozen=True, slots=True)
class Kept:
    """A key with its value. The name is kept because the item's own is a hash of it."""

    name: str
    ends_ms: int | None
    value: bytes

    def packed(self) -> bytes:
        return json.dumps([self.name, self.ends_ms]).encode() + b"\n" + self.value


def unpacked_kept(data: bytes) -> Kept:
    head, _, value = data.partition(b"\n")
    name, ends_ms = json.loads(head)
    return Kept(name, ends_ms, value)


def packed_names(names: Names) -> bytes:
    return json.dumps(names, separators=(",", ":")).encode()


def unpacked_names(data: bytes | None) -> Names:
    return {name: (size, ends_ms) for name, (size, ends_ms) in json.loads(data or b"{}").items()}


def living(names: Names, now_ms: int) -> Names:
    return {name: kept for name, kept in names.items() if kept[1] is None or kept[1] > now_ms}


def size_of(names: Names) -> int:
    return sum(size for size, _ in names.values())


def meta_key(cache_id: str) -> bytes:
    return f"gx:{cache_id}:m".encode()


def used_key(cache_id: str) -> bytes:
    return f"gx:{cache_id}:n".encode()


def bytes_key(cache_id: str) -> bytes:
    return f"gx:{cache_id}:u".encode()


def part_key(cache_id: str, part: int) -> bytes:
    return f"gx:{cache_id}:i{part}".encode()


def part_of(name: bytes) -> int:
    return hashlib.blake2b(name, digest_size=1).digest()[0] % PARTS


def kept_key(cache_id: str, name: bytes) -> bytes:
    return f"gx:{cache_id}:k:{hashlib.blake2b(name, digest_size=20).hexdigest()}".encode()


def job_key(job_id: str) -> bytes:
    return f"gx:j:{hashlib.blake2b(job_id.encode(), digest_size=20).hexdigest()}".encode()


def exptime(*ends_ms: int | None) -> int:
    """The earliest of these ends for Memcached, in whole seconds and never early; 0 for none."""
    known = [end for end in ends_ms if end is not None]
    return math.ceil(min(known) / 1000) + 1 if known else 0
