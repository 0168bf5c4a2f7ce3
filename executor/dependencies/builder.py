"""Building one layer: install into a room of the workshop, look it over, hand it out for publication."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from executor.dependencies import confinement, contents, process, uv
from executor.dependencies.confinement import Build
from executor.dependencies.index import Index
from executor.dependencies.recipe import Recipe
from executor.sandbox.bench import Bench
from executor.sandbox.layer import BOOT, SITE, SITECUSTOMIZE

CACHE_SHARE = 2
"""A room may hold this many layers' worth of downloads besides the layer itself."""


@dataclass(frozen=True)
class Made:
    """A finished folder, not yet published."""

    folder: Path
    resolved: list[str]
    size_bytes: int


@dataclass(frozen=True)
class Builder:
    """`most_bytes` bounds a layer, `timeout_s` its building. Use from threads that outlive the build."""

    bench: Bench
    uv: Path
    index: Index
    most_bytes: int
    timeout_s: float
    closing: Event

    def make(self, recipe: Recipe, workshop: Path) -> Made:
        """Build `recipe` in `workshop`, which nobody else uses. Blocks. Raises what `errors.py` lists."""
        room = self._prepare(workshop)
        environment = {**uv.ENVIRONMENT, **self.index.environment()}
        build = Build(room, self.uv, self.most_bytes, environment, self.index.certificates)
        command = uv.install_command(
            confinement.UV,
            self.bench.python.path,
            confinement.SITE,
            confinement.CACHE,
            recipe.requirements,
        )
        most_bytes = (1 + CACHE_SHARE) * self.most_bytes
        watch = process.Watch(time.monotonic() + self.timeout_s, most_bytes, self.closing)
        code, said = process.run(self.bench, build, command, watch)
        if code != 0:
            if "File too large" in said:  # RLIMIT_FSIZE
                raise contents.too_large(self.most_bytes)
            raise uv.refusal(said)
        return self._finish(room, workshop / "layer")

    def _prepare(self, workshop: Path) -> Path:
        """An empty room, but for the downloads of earlier builds as long as they are not too many."""
        room = workshop / "room"
        for left in (room / "site", workshop / "layer"):
            shutil.rmtree(left, ignore_errors=True)
        owner = self.bench.identity.uid
        if room.exists() and (
            room.stat().st_uid != owner
            or contents.size_of(room, CACHE_SHARE * self.most_bytes) >= CACHE_SHARE * self.most_bytes
        ):
            shutil.rmtree(room)
        workshop.mkdir(exist_ok=True)
        workshop.chmod(0o711)
        if not room.exists():
            room.mkdir(mode=0o700)
            os.chown(room, owner, self.bench.identity.gid)
        return room

    def _finish(self, room: Path, layer: Path) -> Made:
        site = layer / SITE
        layer.mkdir()
        (room / "site").rename(site)
        (site / ".lock").unlink(missing_ok=True)
        size_bytes = contents.take_over(site, self.most_bytes)
        (layer / BOOT).mkdir()
        (layer / BOOT / "sitecustomize.py").write_text(SITECUSTOMIZE)
        for path in (layer, layer / BOOT):
            path.chmod(0o755)
        (layer / BOOT / "sitecustomize.py").chmod(0o644)
        return Made(layer, contents.resolved(site), size_bytes)
