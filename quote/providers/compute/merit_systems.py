"""A run of a Python snippet in a sandbox of E2B, sold by Merit Systems."""

from typing import Any

from quote.asks import RunAsk
from quote.capabilities import Needs
from quote.providers.base import Context, Decline
from quote.providers.remote import Call, Probe, X402Provider
from shared.jobs import MEMORY_MB

LARGEST_MB = MEMORY_MB["medium"]
"""It does not say how much memory a run gets; E2B's sandboxes have 512 MB unless one asks for more."""


class MeritSystems(X402Provider[RunAsk]):
    """It takes a snippet and nothing else, in one language. How long it may run is not promised."""

    name = "merit-systems"
    kind = "compute"

    def probe(self, ask: RunAsk) -> Probe:
        if ask.language != "python":
            raise Decline("it runs python only")
        if ask.dependencies:
            raise Decline("it installs no dependencies")
        if ask.inputs:
            raise Decline("it takes code alone: no arguments, files, standard input or environment")
        if ask.memory_mb > LARGEST_MB:
            raise Decline(f"it promises no run more than {LARGEST_MB} MB")
        return Probe(
            "python", "POST", self.settings.merit_systems_url, {"snippet": "pass", "language": "python"}
        )

    def call(self, ask: RunAsk) -> Call:
        return Call("POST", self.settings.merit_systems_url, {"snippet": "<your code>", "language": "python"})

    def needs(self, ask: RunAsk) -> Needs:
        return Needs(language=ask.language)

    def metadata(self, ask: RunAsk) -> dict[str, Any]:
        return {"language": ask.language, "size": ask.size, "timeout_s": None, "memory_mb": None}


def provider(context: Context) -> MeritSystems:
    return MeritSystems(context)
