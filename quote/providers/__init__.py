"""Providers that name prices, one file each, found by their place: `providers/<kind>/<name>.py`.

A module defines `provider(context) -> QuoteProvider`. Adding one edits no list.
"""
