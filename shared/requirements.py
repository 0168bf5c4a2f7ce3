"""The packages that a Python run asks for: checked as text, long before anybody looks for them.

Only names from the host's index are taken (PEP 508 without its URL form): no address, path, option or
editable install gets through, so what is left can be handed to an installer.
"""

import re
from collections.abc import Iterable

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, is_normalized_name

MAX_DEPENDENCIES = 16
MAX_DEPENDENCY_CHARACTERS = 200
_PLAIN = re.compile(r"[A-Za-z0-9][\x20-\x7e]*")
_EXACT = re.compile(r"==[A-Za-z0-9!+._-]+")


def normalise(requirements: Iterable[str]) -> list[str]:
    """The requirements in one spelling, sorted, each once: equal wishes give equal lists.

    Raises `ValueError` with one sentence for whatever is not `name[extras] versions; marker`.
    """
    return sorted({_normal(text) for text in requirements})


def is_exact(requirement: str) -> bool:
    """Whether a normalised requirement names one version (`==1.2`), which no later release changes."""
    return _EXACT.fullmatch(str(Requirement(requirement).specifier)) is not None


def _normal(text: str) -> str:
    text = text.strip(" ")
    if len(text) > MAX_DEPENDENCY_CHARACTERS:
        raise ValueError(f"a dependency has at most {MAX_DEPENDENCY_CHARACTERS} characters")
    if not _PLAIN.fullmatch(text):
        raise ValueError("a dependency is plain text that begins with a package's name")
    try:
        parsed = Requirement(text)
    except InvalidRequirement:
        raise ValueError(
            "a dependency is a package's name with versions, like `numpy==2.*` (no path, no option)"
        ) from None
    if parsed.url is not None:
        raise ValueError("a dependency comes from this host's index and cannot name an address")
    if any(part.operator == "===" for part in parsed.specifier):
        raise ValueError("`===` compares text and not versions: use `==`")
    if not all(is_normalized_name(canonicalize_name(name)) for name in (parsed.name, *parsed.extras)):
        raise ValueError("a dependency's name begins and ends with a letter or digit")
    extras = ",".join(sorted(canonicalize_name(extra) for extra in parsed.extras))
    versions = ",".join(sorted(str(part) for part in parsed.specifier))
    marker = f" ; {parsed.marker}" if parsed.marker else ""
    chosen = f"[{extras}]" if extras else ""
    return f"{canonicalize_name(parsed.name)}{chosen}{versions}{marker}"
