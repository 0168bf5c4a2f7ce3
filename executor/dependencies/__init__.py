"""Packages for Python runs: resolved and unpacked ahead of the run, into folders that runs can only read."""
