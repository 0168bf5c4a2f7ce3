"""x402 clients that nobody here wrote pay for a run at the real services, each from its own environment.

`make interop` installs the clients and runs these tests; without their environments they are skipped.
"""

import base64
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.services import HOST_WALLET, Stack, clean_environment
from tests.support.wallets import Wallet, new_wallet

pytestmark = pytest.mark.interop

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NETWORKS = {1: "base-sepolia", 2: "eip155:84532"}
HEADERS = {1: "x-payment-response", 2: "payment-response"}


@dataclass(frozen=True)
class PythonClient:
    """A version of PyPI's `x402` in a virtual environment of its own."""

    protocol: int
    version: str
    library: str
    environment: str

    def __str__(self) -> str:
        return f"x402-{self.version}-{self.library}"

    @property
    def python(self) -> Path:
        return ROOT / self.environment / "bin" / "python"

    def missing(self) -> str | None:
        return None if self.python.exists() else f"{self.environment} is not there: `make interop` makes it"

    def command(self) -> list[str | Path]:
        return [self.python, HERE / "python" / f"v{self.protocol}.py", self.library]


@dataclass(frozen=True)
class NodeClient:
    """A package of npm, at the version that node/package.json names."""

    protocol: int
    package: str
    program: str

    def __str__(self) -> str:
        return self.package

    def missing(self) -> str | None:
        if shutil.which("node") is None:
            return "node is not on the PATH"
        if not (HERE / "node" / "node_modules" / self.package).exists():
            return f"{self.package} is not installed: `make interop` installs it"
        return None

    @property
    def version(self) -> str:
        wanted = json.loads((HERE / "node" / "package.json").read_text())["dependencies"]
        return str(wanted[self.package])

    def command(self) -> list[str | Path]:
        return ["node", HERE / "node" / self.program]


CLIENTS = [
    PythonClient(1, "0.2.1", "httpx", ".venv-x402-v1"),
    PythonClient(1, "0.2.1", "requests", ".venv-x402-v1"),
    PythonClient(1, "1.0.0", "httpx", ".venv-x402-1.0.0"),
    PythonClient(1, "1.0.0", "requests", ".venv-x402-1.0.0"),
    PythonClient(2, "2.25.0", "httpx", ".venv-x402-2.25.0"),
    PythonClient(2, "2.25.0", "requests", ".venv-x402-2.25.0"),
    NodeClient(1, "x402-fetch", "x402-fetch.mjs"),
    NodeClient(1, "x402-axios", "x402-axios.mjs"),
    NodeClient(2, "@x402/fetch", "x402-scope-fetch.mjs"),
    NodeClient(2, "@x402/axios", "x402-scope-axios.mjs"),
]


@pytest.fixture(params=CLIENTS, ids=str)
def client(request: pytest.FixtureRequest) -> PythonClient | NodeClient:
    made: PythonClient | NodeClient = request.param
    reason = made.missing()
    if reason:
        pytest.skip(reason)
    return made


def run(
    client: PythonClient | NodeClient, url: str, wallet: Wallet, body: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    """The client's program, run to its end."""
    # A machine's proxy is not asked for a server of this machine.
    direct = clean_environment(NO_PROXY="127.0.0.1", no_proxy="127.0.0.1", PYTHONPATH="")
    command = [*client.command(), url, wallet.key, json.dumps(body)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=direct, cwd=HERE, check=False
    )


def answer_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What the program printed; one that failed fails the test with its error."""
    assert done.returncode == 0, done.stderr[-4000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def chain_receipt(stack: Stack, transaction: str) -> dict[str, Any]:
    call = {"jsonrpc": "2.0", "id": 1, "method": "eth_getTransactionReceipt", "params": [transaction]}
    found: dict[str, Any] = httpx.post(
        f"{stack.devnet}/rpc", json=call, trust_env=False, verify=False, timeout=60
    ).json()["result"]
    return found


def test_a_stock_client_pays_for_a_run_and_gets_output_receipt_and_the_exact_charge(
    stack: Stack, wallet: Wallet, client: PythonClient | NodeClient
) -> None:
    marker = os.urandom(8).hex()
    body = {"code": f"print('{marker}', 6 * 7)", "language": "python"}
    told = httpx.post(f"{stack.broker}/run", json=body, trust_env=False, verify=False, timeout=60)
    assert told.status_code == 402
    price = int(told.json()["accepts"][0]["maxAmountRequired"])
    payer_before, host_before = stack.balance(wallet.address), stack.balance(HOST_WALLET)

    answer = answer_of(run(client, f"{stack.broker}/run", wallet, body))

    assert answer["status"] == 200, answer
    assert answer["body"]["result"]["stdout"] == f"{marker} 42\n"
    assert answer["body"]["result"]["exitCode"] == 0
    receipt = json.loads(base64.b64decode(answer["headers"][HEADERS[client.protocol]]))
    assert receipt["success"] is True
    assert receipt["network"] == NETWORKS[client.protocol]
    assert receipt["payer"].lower() == wallet.address.lower()
    mined = chain_receipt(stack, receipt["transaction"])
    assert mined["status"] == "0x1"
    assert payer_before - stack.balance(wallet.address) == price > 0
    assert stack.balance(HOST_WALLET) - host_before == price
    assert Decimal(answer["body"]["price_usd"]) * 10**6 == price


def test_a_stock_client_without_money_is_not_served_and_not_charged(
    stack: Stack, client: PythonClient | NodeClient
) -> None:
    poor, marker = new_wallet(), os.urandom(8).hex()
    done = run(client, f"{stack.broker}/run", poor, {"code": f"print('{marker}')"})
    # Some clients hand back the second 402, some raise; none may show the result.
    assert done.returncode != 0 or json.loads(done.stdout)["status"] == 402, done.stdout
    assert f"{marker}\\n" not in done.stdout
    assert stack.balance(poor.address) == 0


def test_the_client_under_test_is_the_version_that_is_claimed(
    stack: Stack, wallet: Wallet, client: PythonClient | NodeClient
) -> None:
    if isinstance(client, NodeClient):
        installed = json.loads((HERE / "node" / "node_modules" / client.package / "package.json").read_text())
        assert installed["version"] == client.version
    else:
        answer = answer_of(run(client, f"{stack.broker}/run", wallet, {"code": "print(1)"}))
        assert answer["client"] == client.version


def test_the_npm_lock_pins_every_package_by_hash_and_names_no_address() -> None:
    lock = json.loads((HERE / "node" / "package-lock.json").read_text())
    packages = {name: item for name, item in lock["packages"].items() if name}
    assert len(packages) > 100
    assert [name for name, item in packages.items() if "resolved" in item] == []
    assert [name for name, item in packages.items() if "integrity" not in item] == []
