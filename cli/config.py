"""What `galaksio login` remembers: `$GALAKSIO_HOME/config.json`, readable by this user only."""

import json
import os
from decimal import Decimal
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.settings import private_folder

DEFAULT_URL = "http://localhost:8080"
DEFAULT_CAP_USD = Decimal("0.10")


class CliError(Exception):
    """The command cannot go on; the text is one sentence that says what to do."""


class Config(BaseModel):
    """`private_key` is 0x and 64 hex digits, `max_cost_usd` caps one payment.

    `network` is the only one payments are signed for.
    """

    model_config = ConfigDict(extra="forbid")

    private_key: str = Field(pattern=r"^0x[0-9a-f]{64}$", repr=False)
    address: str
    broker_url: str = DEFAULT_URL
    network: str = "base-sepolia"
    max_cost_usd: Decimal = Field(DEFAULT_CAP_USD, gt=0)


def home() -> Path:
    """`$GALAKSIO_HOME`, or `~/.galaksio`."""
    return Path(os.environ.get("GALAKSIO_HOME") or "~/.galaksio").expanduser().absolute()


def config_path() -> Path:
    return home() / "config.json"


def load() -> Config:
    """Read the config. Raises `CliError` when nobody is logged in or the file is damaged."""
    try:
        return Config.model_validate_json(config_path().read_bytes())
    except FileNotFoundError:
        raise CliError("You are not logged in: run `galaksio login -k KEY` first.") from None
    except (ValidationError, OSError):
        raise CliError(f"{config_path()} cannot be read: run `galaksio login -k KEY` again.") from None


def save(config: Config) -> None:
    write_private(config_path(), config.model_dump_json(indent=2))


def forget() -> bool:
    """Delete the config; returns whether there was one."""
    try:
        config_path().unlink()
    except FileNotFoundError:
        return False
    return True


def write_private(path: Path, text: str) -> None:
    """Replace `path` in one step with a file only this user can read (0600)."""
    private_folder(path.parent)
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text if text.endswith("\n") else text + "\n")
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def account_of(key: str) -> tuple[str, str]:
    """The normalised private key and its address. Raises `CliError` for anything else."""
    from eth_account import Account

    digits = key.strip().removeprefix("0x").lower()
    try:
        if len(digits) != 64:
            raise ValueError
        return f"0x{digits}", str(Account.from_key(f"0x{digits}").address)
    except ValueError:
        raise CliError("KEY is not a private key: 64 hex digits, with or without 0x.") from None


def wallet_file(name: str) -> dict[str, str]:
    """A wallet of this installation, made on first use: `{private_key, address, note}`."""
    from eth_account import Account

    path = home() / f"{name}.json"
    if not path.exists():
        account = Account.create()
        wallet = {
            "address": str(account.address),
            "private_key": "0x" + bytes(account.key).hex(),
            "note": "Made for the local payment network. Never send real money to it.",
        }
        write_private(path, json.dumps(wallet, indent=2))
    loaded: dict[str, str] = json.loads(path.read_text())
    return loaded
