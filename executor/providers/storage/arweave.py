"""Keeps content for good on Arweave: galaksio_storage does the upload (providers.md)."""

from executor.providers.base import Context
from executor.providers.storage.galaksio_storage import Permanent


def provider(context: Context) -> Permanent:
    return Permanent(context, "arweave")
