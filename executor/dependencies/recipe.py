"""What a layer is made from, and the key that follows from it."""

import hashlib
import json
from dataclasses import dataclass

from shared.requirements import is_exact


@dataclass(frozen=True)
class Recipe:
    """Normalised `requirements`, for the Python whose version, ABI and platform `abi` names."""

    requirements: tuple[str, ...]
    abi: str
    index: str

    def key(self, now_s: float, ttl_s: int) -> str:
        """64 hex digits. Wishes without exact versions get a new key, and are resolved again, every `ttl_s`.

        Each wish changes its key at a moment of its own, so that not all are resolved at once.
        """
        parts = [list(self.requirements), self.abi, self.index]
        digest = hashlib.sha256(json.dumps(parts).encode())
        if not all(is_exact(requirement) for requirement in self.requirements):
            offset_s = int.from_bytes(digest.digest()[:4], "big") % ttl_s
            digest.update(str(int(now_s + offset_s) // ttl_s).encode())
        return digest.hexdigest()
