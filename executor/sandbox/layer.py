"""A folder of packages, as a run sees it: bound to read only, and on `sys.path` behind the standard library.

No `.pth` file of a package is ever processed: the folder is put on the path by a `sitecustomize` of ours and
is no site folder. That also leaves `argv`, `__main__` and tracebacks as they are without packages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from executor.sandbox.arguments import Bind

INSIDE = "/opt/layer"
SITE, BOOT = "site", "boot"
"""The packages, and the folder with `SITECUSTOMIZE`, in a layer."""

# Behind the standard library, or an old backport among the packages (`typing`, `enum34`) breaks it; before
# the system's own packages, or an old one of those hides what was asked for.
SITECUSTOMIZE = f"""\
import sys
sys.path[:] = [place for place in sys.path if place != "{INSIDE}/{BOOT}"]
# What this module hides is the system's own. If there is none, the ImportError is what Python expects.
del sys.modules["sitecustomize"]
try:
    import sitecustomize
finally:
    found = [at for at, place in enumerate(sys.path) if place.endswith(("site-packages", "dist-packages"))]
    sys.path.insert(found[0] if found else len(sys.path), "{INSIDE}/{SITE}")
"""


@dataclass(frozen=True)
class Layer:
    """A published layer. `resolved` says what it holds, as `name==version`."""

    path: Path
    resolved: tuple[str, ...]

    @property
    def binds(self) -> tuple[Bind, ...]:
        return (Bind(self.path, INSIDE),)

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """What a run's environment gets besides `given`."""
        own = given.get("PYTHONPATH")
        return {"PYTHONPATH": f"{INSIDE}/{BOOT}:{own}" if own else f"{INSIDE}/{BOOT}"}
