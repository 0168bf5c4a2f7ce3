"""Paying with the old `x402` package (v1 only), which lives in a Python environment of its own."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.services import Stack, clean_environment
from tests.support.wallets import Wallet

PYTHON = Path(__file__).parents[2] / ".venv-x402-v1" / "bin" / "python"
needs_old_client = pytest.mark.skipif(
    not PYTHON.exists(), reason="the old client's environment is made by `make test`"
)


def paid_by_old_client(stack: Stack, path: str, wallet: Wallet, body: dict[str, Any]) -> dict[str, Any]:
    """The `body` of a success that the receipt confirms, paid by `v1_client.py`."""
    client = Path(__file__).with_name("v1_client.py")
    done = subprocess.run(
        [PYTHON, client, stack.broker, path, wallet.key, json.dumps(body)],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["status"] == 200, answer
    assert answer["receipt"]["success"] is True
    assert answer["receipt"]["network"] == "base-sepolia"
    paid: dict[str, Any] = answer["body"]
    return paid
