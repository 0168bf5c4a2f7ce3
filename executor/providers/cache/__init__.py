"""Caches: `taskType` cache, and store where the provider is one of caches (seed 001's source had it so)."""

from typing import Any

from shared.caches.task import CACHE_TASK_TYPES, CacheTask, parse_cache_task

TASK_TYPES = CACHE_TASK_TYPES
SHARED_TASK_TYPES = frozenset({"store", "storage"})
DEFAULT_PROVIDER = "redis"


def parse(body: dict[str, Any]) -> CacheTask:
    """Raises 400 or 413 with a sentence that says what to change."""
    return parse_cache_task(body)
