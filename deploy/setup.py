"""What the services of `docker compose` must know and nobody should have to type. Runs before them.

    python setup.py           the secrets of this installation
    python setup.py devnet    the addresses of the local payment network, and a wallet that is paid there

Each service has a folder in SETTINGS (a volume of its own) with a file for each setting, which it reads by
`NAME_FILE`; an empty one sets nothing. A secret is what the environment gives, else what its file in SECRETS
holds, else what was made at an earlier start and is kept in MADE, else made now.
"""

import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

SETTINGS = Path(os.environ.get("SETUP_SETTINGS", "/settings"))
SECRETS = Path(os.environ.get("SETUP_SECRETS", "/run/secrets"))
MADE = Path(os.environ.get("SETUP_MADE", "/made"))

TOKEN = "INTERNAL_API_TOKEN"  # noqa: S105 - its name
FOR_DEVNET = {
    "broker": {
        "X402_FACILITATOR_URL": "http://devnet:8402",
        "CHAIN_RPC_URL": "http://devnet:8402/rpc",
        "REMOTE_PROVIDERS": "off",
    },
    # The devnet's dollars buy nothing anywhere else.
    "quote": {"REMOTE_PROVIDERS": "off"},
    "executor": {"REMOTE_PROVIDERS": "off", "CHAIN_RPC_URL": "http://devnet:8402/rpc"},
}
WALLET = "X402_WALLET_ADDRESS"


def main(arguments: list[str]) -> None:
    if arguments == ["devnet"]:
        write_devnet()
    else:
        write_secrets()


def write_secrets() -> None:
    """All settings of all services; what only the devnet sets is taken back."""
    token = given(TOKEN) or made(TOKEN)
    passwords = {name: made(f"{name.upper()}_DB_PASSWORD") for name in ("broker", "executor")}
    write("broker", {TOKEN: token, "DATABASE_URL": database("broker", passwords["broker"])})
    write("broker", {name: given(name) for name in ("OPERATOR_TOKEN", "CACHE_TOKEN_KEY")})
    write("quote", {TOKEN: token})
    write("executor", {TOKEN: token, "DATABASE_URL": database("executor", passwords["executor"])})
    write("executor", {"EXECUTOR_PRIVATE_KEY": given("EXECUTOR_PRIVATE_KEY")})
    write("postgres", {"POSTGRES_PASSWORD": given("POSTGRES_PASSWORD") or made("POSTGRES_PASSWORD")})
    write("postgres", {f"{name.upper()}_DB_PASSWORD": text for name, text in passwords.items()})
    write("prometheus", {TOKEN: token})
    write("grafana", {"GRAFANA_PASSWORD": given("GRAFANA_PASSWORD") or made("GRAFANA_PASSWORD")})
    for service, settings in FOR_DEVNET.items():
        write(service, dict.fromkeys(settings, ""))
    write("broker", {WALLET: ""})


def write_devnet() -> None:
    """What makes the services sell on the local payment network, as long as nothing else is set."""
    from eth_account import Account

    for service, settings in FOR_DEVNET.items():
        write(service, settings)
    key = made("DEVNET_HOST_KEY", lambda: bytes(Account.create().key).hex())
    write("broker", {WALLET: str(Account.from_key(key).address)})


def given(name: str) -> str:
    """What the environment or the file of a secret says; "" when neither does."""
    if text := os.environ.get(name, "").strip():
        return text
    file = SECRETS / name
    return file.read_text().strip() if file.exists() else ""


def made(name: str, make: Callable[[], str] = lambda: secrets.token_urlsafe(32)) -> str:
    """A secret of this installation, made once."""
    file = MADE / name
    if not file.exists():
        replace(file, make(), 0o400)
    return file.read_text().strip()


def database(name: str, password: str) -> str:
    return f"postgresql://{name}:{password}@postgres:5432/{name}"


def write(service: str, settings: dict[str, str]) -> None:
    """Only this service has its folder, so everybody in it may read: their users differ."""
    for name, text in settings.items():
        replace(SETTINGS / service / name, text, 0o444)


def replace(file: Path, text: str, mode: int) -> None:
    """A service that reads meanwhile sees the old text or the new one."""
    fresh = file.with_name(f".{file.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(f"{text}\n" if text else "")
    fresh.chmod(mode)
    fresh.replace(file)


if __name__ == "__main__":
    main(sys.argv[1:])
