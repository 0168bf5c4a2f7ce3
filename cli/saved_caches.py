"""The caches that were bought here: `$GALAKSIO_HOME/caches/ID.json`, readable by this user only."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cli.config import CliError, home, write_private
from shared.caches.limits import is_cache_id


class SavedCache(BaseModel):
    """Where a cache is, and what opens it."""

    model_config = ConfigDict(extra="forbid")

    endpoint: str
    token: str = Field(repr=False)


def save(cache_id: str, cache: SavedCache) -> Path:
    """Raises `CliError` for an id that no cache can have."""
    path = _path(cache_id)
    write_private(path, cache.model_dump_json(indent=2))
    return path


def saved(cache_id: str) -> SavedCache | None:
    """None for one that was not bought here. Raises `CliError` for a bad id or a damaged file."""
    path = _path(cache_id)
    try:
        return SavedCache.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError):
        raise CliError(f"{path} cannot be read: give the token with --token.") from None


def _path(cache_id: str) -> Path:
    if not is_cache_id(cache_id):
        raise CliError(f"{cache_id!r} is not the id of a cache.")
    return home() / "caches" / f"{cache_id}.json"
