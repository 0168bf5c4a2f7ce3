"""Whose certificates we accept: those of certifi."""

import ssl
from functools import cache

import certifi


@cache
def trusted() -> ssl.SSLContext:
    """For all clients of this process: reading the certificates takes 30 ms each time."""
    return ssl.create_default_context(cafile=certifi.where())
