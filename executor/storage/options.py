"""What the store needs to know, as the settings give it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class StorageOptions:
    """Seconds and bytes, as named. `url` None is a folder in `home`; `s3` are settings of obstore's S3Store.

    `max_bytes` 0 means all that the disk has beyond `reserve_bytes`.
    """

    home: Path
    url: str | None = None
    database_url: str | None = None
    s3: Mapping[str, str] = field(default_factory=dict)
    max_bytes: int = 0
    reserve_bytes: int = 2**30
    max_upload_bytes: int = 100 * 2**20
    upload_ttl_s: int = 3600
    uploads: int = 16
