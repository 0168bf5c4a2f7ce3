"""The committed contracts are what their sources say, and the token behaves as USDC."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_keys.constants import SECPK1_N
from eth_utils.address import to_canonical_address
from x402.mechanisms.evm.default_assets import DEFAULT_ASSETS

from devnet.abi import CONTRACTS, artifact, decode_result, encode_contract_call
from devnet.chain import DevnetChain
from devnet.dollar import pay_out
from devnet.evm import Call, ExecutionFailed
from devnet.settings import DevnetSettings, local_network
from tests.devnet.support import USDC, Client, FakeClock, Payer, sign

SOURCES = sorted(CONTRACTS.glob("*.sol"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_committed_contract_names_the_hash_of_its_source(source: Path) -> None:
    committed = json.loads(source.with_suffix(".json").read_text())
    assert committed["sourceSha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    pinned = json.loads((CONTRACTS / "package.json").read_text())["dependencies"]["solc"]
    assert committed["compiler"].startswith(f"solc {pinned}+")
    assert committed["settings"]["metadata"]["bytecodeHash"] == "none"


def test_there_are_two_contracts_and_each_has_code() -> None:
    assert [source.stem for source in SOURCES] == ["DevnetUSDC", "Multicall3"]
    assert all(len(artifact(source.stem).code) > 500 for source in SOURCES)


def test_the_lock_file_names_no_package_registry() -> None:
    lock = json.loads((CONTRACTS / "package-lock.json").read_text())
    packages = [value for path, value in lock["packages"].items() if path]
    assert packages
    assert all("integrity" in package and "resolved" not in package for package in packages)


@pytest.mark.skipif(
    shutil.which("node") is None or not (CONTRACTS / "node_modules" / "solc").is_dir(),
    reason="needs node and `npm ci` in devnet/contracts",
)
def test_building_the_sources_gives_the_committed_bytes() -> None:
    command = ["node", "build.mjs", "--check"]
    done = subprocess.run(command, cwd=CONTRACTS, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


class Token:
    """The token on a chain of its own, called directly."""

    abi = artifact("DevnetUSDC").abi

    def __init__(self, chain: DevnetChain) -> None:
        self.chain = chain

    def read(self, name: str, *args: Any) -> Any:
        data = encode_contract_call(self.abi, name, *args)
        return decode_result(self.abi, name, self.chain.call(Call(to_canonical_address(USDC), data)))

    def data(self, name: str, *args: Any) -> bytes:
        """Calldata of the overload that takes as many arguments."""
        overload = [i for i in self.abi if i["name"] == name and len(i["inputs"]) == len(args)]
        return encode_contract_call(overload, name, *args)

    def send(self, account: Any, name: str, *args: Any) -> bool:
        return self.chain.send(account, USDC, self.data(name, *args), 500_000).succeeded

    def refusal(self, sender: str, name: str, *args: Any) -> str:
        call = Call(to_canonical_address(USDC), self.data(name, *args), to_canonical_address(sender))
        with pytest.raises(ExecutionFailed) as failed:
            self.chain.call(call)
        return str(failed.value).removeprefix("execution reverted: ")


@pytest.fixture
def token(tmp_path: Path, clock: FakeClock) -> Any:
    settings = DevnetSettings(galaksio_home=tmp_path)
    chain = DevnetChain(settings.state_path, local_network(settings), clock)
    yield Token(chain)
    chain.close()


@pytest.fixture
def payer(token: Token) -> Payer:
    made = Payer()
    pay_out(token.chain, made.address)
    return made


def _args(payload: dict[str, Any], *, split: bool, twin: bool = False) -> list[Any]:
    signed = payload["authorization"]
    numbers = [int(signed[key]) for key in ("value", "validAfter", "validBefore")]
    head = [signed["from"], signed["to"], *numbers, bytes.fromhex(signed["nonce"][2:])]
    return head + _signature(payload["signature"], split=split, twin=twin)


def _signature(text: str, *, split: bool, twin: bool = False) -> list[Any]:
    raw = bytes.fromhex(text[2:])
    if twin:  # the other signature of the same key over the same message (EIP-2)
        high = SECPK1_N - int.from_bytes(raw[32:64], "big")
        raw = raw[:32] + high.to_bytes(32, "big") + bytes([55 - raw[64]])
    return [raw[64], raw[:32], raw[32:64]] if split else [raw]


def test_the_token_has_usdcs_name_version_decimals_and_domain(token: Token) -> None:
    listed = DEFAULT_ASSETS["eip155:84532"][0]
    assert listed["asset"] == USDC
    assert token.read("name") == listed["name"] == "USDC"
    assert token.read("version") == listed["version"] == "2"
    assert token.read("decimals") == listed["decimals"] == 6
    assert token.read("symbol") == "USDC"
    # The real base-sepolia USDC answers this value; that is why a devnet signature is valid there.
    assert token.read("DOMAIN_SEPARATOR") == _domain_separator()
    assert token.read("totalSupply") == 10**18


def _domain_separator() -> bytes:
    from eth_account.messages import encode_typed_data

    domain = {"name": "USDC", "version": "2", "chainId": 84532, "verifyingContract": USDC}
    encoded = encode_typed_data(domain, {"Empty": [{"name": "a", "type": "uint256"}]}, {"a": 1})
    return encoded.header


@pytest.mark.parametrize("split", [True, False], ids=["v,r,s", "bytes"])
def test_both_overloads_of_transfer_with_authorization_move_the_money(
    token: Token, payer: Payer, clock: FakeClock, split: bool
) -> None:
    seller = Payer().address
    args = _args(payer.authorize(seller, 5, clock()), split=split)
    assert token.send(token.chain.keys.facilitator, "transferWithAuthorization", *args)
    assert token.read("balanceOf", seller) == 5
    refusal = token.refusal(seller, "transferWithAuthorization", *args)
    assert refusal == "FiatTokenV2: authorization is used or canceled"


@pytest.mark.parametrize("split", [True, False], ids=["v,r,s", "bytes"])
def test_both_overloads_of_receive_with_authorization_are_for_the_payee_only(
    token: Token, payer: Payer, clock: FakeClock, split: bool
) -> None:
    payee = Account.create()
    payload = payer.authorize(payee.address, 5, clock(), primary_type="ReceiveWithAuthorization")
    args = _args(payload, split=split)
    stranger = token.refusal(Payer().address, "receiveWithAuthorization", *args)
    assert stranger == "FiatTokenV2: caller must be the payee"
    assert (
        token.refusal(payee.address, "transferWithAuthorization", *args) == "FiatTokenV2: invalid signature"
    )
    assert token.send(payee, "receiveWithAuthorization", *args)
    assert token.read("balanceOf", payee.address) == 5


@pytest.mark.parametrize("split", [True, False], ids=["v,r,s", "bytes"])
def test_both_overloads_of_cancel_authorization_make_it_worthless(
    token: Token, payer: Payer, clock: FakeClock, split: bool
) -> None:
    payload = payer.authorize(Payer().address, 5, clock())
    nonce = bytes.fromhex(payload["authorization"]["nonce"][2:])
    fields = [{"name": "authorizer", "type": "address"}, {"name": "nonce", "type": "bytes32"}]
    signature = sign(
        payer.account, "CancelAuthorization", fields, {"authorizer": payer.address, "nonce": nonce}
    )
    args = [payer.address, nonce, *_signature(signature, split=split)]
    assert token.send(token.chain.keys.facilitator, "cancelAuthorization", *args)
    assert token.read("authorizationState", payer.address, nonce) is True
    refusal = token.refusal(payer.address, "transferWithAuthorization", *_args(payload, split=split))
    assert refusal == "FiatTokenV2: authorization is used or canceled"
    again = token.refusal(payer.address, "cancelAuthorization", *args)
    assert again == "FiatTokenV2: authorization is used or canceled"


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("wrong signature", "FiatTokenV2: invalid signature"),
        ("malleable twin", "ECRecover: invalid signature 's' value"),
        ("bad v", "ECRecover: invalid signature 'v' value"),
        ("short signature", "ECRecover: invalid signature length"),
        ("expires this second", "FiatTokenV2: authorization is expired"),
        ("begins this second", "FiatTokenV2: authorization is not yet valid"),
        ("too much", "ERC20: transfer amount exceeds balance"),
        ("to nobody", "ERC20: transfer to the zero address"),
    ],
)
def test_the_token_refuses_with_usdcs_own_words(
    token: Token, payer: Payer, clock: FakeClock, case: str, text: str
) -> None:
    now, seller = int(clock()), Payer().address
    args = _args(payer.authorize(seller, 5, now), split=False)
    if case == "wrong signature":
        args[2] = 6
    elif case == "malleable twin":
        args = _args(payer.authorize(seller, 5, now), split=False, twin=True)
    elif case == "bad v":
        args[6] = args[6][:64] + b"\x1d"
    elif case == "short signature":
        args[6] = args[6][:64]
    elif case == "expires this second":
        args = _args(payer.authorize(seller, 5, now, valid_before=now), split=False)
    elif case == "begins this second":
        args = _args(payer.authorize(seller, 5, now, valid_after=now), split=False)
    elif case == "too much":
        args = _args(payer.authorize(seller, 100_000_001, now), split=False)
    else:
        args = _args(payer.authorize("0x" + "0" * 40, 5, now), split=False)
    assert token.refusal(seller, "transferWithAuthorization", *args) == text


def test_erc20_allowances_are_granted_spent_and_never_exceeded(token: Token, payer: Payer) -> None:
    spender, seller = Account.create(), Payer().address
    assert token.send(payer.account, "approve", spender.address, 10)
    assert token.send(payer.account, "increaseAllowance", spender.address, 5)
    assert token.send(payer.account, "decreaseAllowance", spender.address, 3)
    assert token.read("allowance", payer.address, spender.address) == 12
    assert token.send(spender, "transferFrom", payer.address, seller, 9)
    assert token.read("allowance", payer.address, spender.address) == 3
    assert token.read("balanceOf", seller) == 9
    refusal = token.refusal(spender.address, "transferFrom", payer.address, seller, 4)
    assert refusal == "ERC20: transfer amount exceeds allowance"


async def test_multicall_keeps_going_after_a_failed_call(devnet: Client) -> None:
    from x402.mechanisms.evm.constants import MULTICALL3_ADDRESS

    abi = artifact("Multicall3").abi
    token_abi = artifact("DevnetUSDC").abi
    good = encode_contract_call(token_abi, "decimals")
    bad = encode_contract_call(token_abi, "transfer", USDC, 1)
    for name, args in (
        ("tryAggregate", [False, [(USDC, bad), (USDC, good)]]),
        ("aggregate3", [[(USDC, True, bad), (USDC, True, good)]]),
    ):
        call = {"to": MULTICALL3_ADDRESS, "data": "0x" + encode_contract_call(abi, name, *args).hex()}
        output = await devnet.rpc("eth_call", call, "latest")
        failed, worked = decode_result(abi, name, bytes.fromhex(output[2:]))
        assert failed[0] is False
        assert b"exceeds balance" in failed[1]
        assert (worked[0], int.from_bytes(worked[1], "big")) == (True, 6)
