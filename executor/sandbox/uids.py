"""User ids for sandboxes: each that lives has one of its own when the executor is root."""

import heapq
import os

from executor.sandbox.runtimes import Identity

UID_BASE = 60_600
"""Runs get this uid and the following: systemd's table of uids leaves 60578..61183 unused."""


class Uids:
    """The lowest free number from `base` on. Only used on the event loop."""

    def __init__(self, base: int, *, drop: bool) -> None:
        self._base = base
        self._root = os.geteuid() == 0
        self._drop = drop
        self._free: list[int] = []
        self._next = base

    def at(self, number: int) -> Identity:
        if not self._root:
            return Identity(os.getuid(), os.getgid(), dropped=False)
        uid = self._base + number
        return Identity(uid, uid, dropped=self._drop)

    def take(self) -> Identity:
        if not self._root:
            return self.at(0)
        if self._free:
            uid = heapq.heappop(self._free)
        else:
            uid, self._next = self._next, self._next + 1
        return Identity(uid, uid, dropped=self._drop)

    def give_back(self, identity: Identity) -> None:
        """To be called when nothing of that user is alive any more."""
        if self._root:
            heapq.heappush(self._free, identity.uid)
