"""What the chain says of the executor's money, over JSON-RPC: its balance, its authorizations (EIP-3009)."""

from typing import Any

import httpx

from shared.logs import get_logger
from shared.networks import Network
from shared.trust import trusted

log = get_logger(__name__)

TIMEOUT_S = 10.0
_BALANCE_OF = "0x70a08231"
_AUTHORIZATION_STATE = "0xe94a0102"


class Chain:
    """Reads the token contract at the node `rpc_url`, from its making to `close`."""

    def __init__(self, rpc_url: str, network: Network) -> None:
        self._rpc_url = rpc_url
        self.chain_id = network.chain_id
        self.asset = network.asset
        self._http = httpx.AsyncClient(
            timeout=TIMEOUT_S, trust_env=False, verify=trusted(), follow_redirects=False
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def balance(self, address: str) -> int | None:
        """In the token's units; None when nobody answers."""
        try:
            return int(await self._call(_BALANCE_OF + _word(address), "latest"), 16)
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as exc:
            log.warning("chain_unreachable", error=type(exc).__name__)
            return None

    async def was_used(self, payer: str, nonce: str, valid_before: int) -> bool | None:
        """Whether an authorization that has ended was used; None when nobody knows (yet).

        Unused is believed only of a block that is later than its end: before that it may still be used.
        """
        try:
            latest = await self._ask("eth_getBlockByNumber", ["latest", False])
            call = _AUTHORIZATION_STATE + _word(payer) + _word(nonce)
            used = bool(int(await self._call(call, latest["number"]), 16))
            return used if used or int(latest["timestamp"], 16) >= valid_before else None
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as exc:
            log.warning("chain_unreachable", error=type(exc).__name__)
            return None

    async def _call(self, data: str, block: str) -> str:
        return str(await self._ask("eth_call", [{"to": self.asset, "data": data}, block]))

    async def _ask(self, method: str, params: list[Any]) -> Any:
        """Raises `httpx.HTTPError`, `ValueError`, `KeyError` and `TypeError`."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = (await self._http.post(self._rpc_url, json=body)).raise_for_status()
        return answer.json()["result"]


def _word(hex_text: str) -> str:
    return hex_text.removeprefix("0x").lower().rjust(64, "0")
