"""Which package index is asked: the configured one, else that of uv or pip on this machine."""

import configparser
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shared.logs import get_logger

log = get_logger(__name__)

_NAMES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
_CERTIFICATES = ("SSL_CERT_FILE", "PIP_CERT")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Index:
    """An index and the way to it. `url` None is uv's own default; it may hold a password: never log it."""

    url: str | None = field(default=None, repr=False)
    certificates: Path | None = None
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)

    def environment(self) -> dict[str, str]:
        """What uv is told. In its environment and not in its arguments, which others can read."""
        told = dict(self.proxies)
        if self.url is not None:
            told["UV_DEFAULT_INDEX"] = self.url
        if self.certificates is not None:
            told["SSL_CERT_FILE"] = str(self.certificates)
        return told


def find_index(configured: str | None, environment: Mapping[str, str], home: Path) -> Index:
    """The index to use. Reads pip's settings files (`[global]` and `[install]` of them)."""
    pip = _pip_settings(environment, home)
    urls = [configured, *(environment.get(name) for name in _NAMES), pip.get("index-url")]
    certificates = [*(environment.get(name) for name in _CERTIFICATES), pip.get("cert")]
    proxies = {
        spelled: environment[spelled]
        for name in _PROXIES
        for spelled in (name, name.lower())
        if environment.get(spelled)
    }
    url = next((url.strip() for url in urls if url), None)
    if url is not None and not url.startswith(("http://", "https://")):
        log.warning("package_index_not_used", reason="it is no http or https address")
        url = None
    certificate = next((Path(path) for path in certificates if path), None)
    return Index(url, certificate, proxies)


def _pip_settings(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """pip's own rule: machine, user, virtual environment, then PIP_CONFIG_FILE; the later wins."""
    places = [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        home / ".config/pip/pip.conf",
        Path(sys.prefix) / "pip.conf",
    ]
    if named := environment.get("PIP_CONFIG_FILE"):
        places.append(Path(named))
    found: dict[str, str] = {}
    for place in places:
        settings = configparser.RawConfigParser()
        try:
            settings.read_string(place.read_text())
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
        for section in ("global", "install"):
            if settings.has_section(section):
                found.update(settings.items(section))
    return found
