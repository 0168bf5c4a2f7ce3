"""Strangers' code, each snippet in a sandbox of its own (docs: sandbox.md)."""
