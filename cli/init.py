"""`galaksio init`: what a developer needs to start the services by hand."""

from pathlib import Path

from cli.config import CliError, wallet_file, write_private

TEMPLATE = """\
# Written by `galaksio init` for development on this machine. Not committed (see .gitignore).
PYTHON_ENV=development
# Who is paid. The key belonging to it is in {key_file}.
X402_WALLET_ADDRESS={address}
X402_NETWORK=base-sepolia
# The local payment network: `python -m devnet` (test money; never fund its keys for real).
X402_FACILITATOR_URL=http://localhost:8402
DEVNET_URL=http://localhost:8402
CHAIN_RPC_URL=http://localhost:8402/rpc
# Its dollars buy nothing anywhere else.
REMOTE_PROVIDERS=off
BROKER_PORT=8080
QUOTE_PORT=8081
EXECUTOR_PORT=8082
DEVNET_PORT=8402
QUOTE_SERVICE_URL=http://localhost:8081
EXECUTOR_SERVICE_URL=http://localhost:8082
"""


def write_env(folder: Path, *, force: bool) -> tuple[Path, str]:
    """Write `.env.development` into `folder`; returns its path and the host's address.

    Raises `CliError` when the file is there already and `force` is not set.
    """
    from cli.config import home

    path = folder / ".env.development"
    if path.exists() and not force:
        raise CliError(f"{path} is there already: edit it, or replace it with `galaksio init --force`.")
    wallet = wallet_file("host_wallet")
    text = TEMPLATE.format(address=wallet["address"], key_file=home() / "host_wallet.json")
    write_private(path, text)
    return path, wallet["address"]
