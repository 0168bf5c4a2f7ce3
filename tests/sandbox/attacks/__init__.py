"""All attacks, by theme."""

from tests.sandbox.attack import Attack
from tests.sandbox.attacks import (
    files,
    kernel,
    memory,
    network,
    output,
    processes,
    requests,
    results,
    secrets,
    shared,
    storage,
)

THEMES = (processes, memory, storage, output, results, secrets, files, network, kernel, shared, requests)
ATTACKS: dict[str, Attack] = {attack.name: attack for theme in THEMES for attack in theme.ATTACKS}
