"""What is wrong with the settings as a whole, said before anything is opened: one sentence each."""

from pydantic import SecretStr

from shared.errors import StartupError
from shared.logs import get_logger
from shared.settings import CommonSettings, env_names

log = get_logger(__name__)

SHORTEST = 16
"""Characters of a secret that is not soon guessed."""
MAKE_ONE = "make one with `openssl rand -hex 32`"
CHOSEN = ("internal_api_token", "metrics_token", "operator_token", "cache_token_key")
"""Secrets that the host makes up; all others are somebody else's."""
_EXAMPLES = (
    "change",
    "example",
    "secret",
    "password",
    "default",
    "replace",
    "your-",
    "your_",
    "todo",
    "test-token",
)
_EVERYBODYS_KEYS = frozenset(
    {
        # The first accounts of Hardhat, Anvil and Ganache: what they are sent is taken within seconds.
        0xAC0974BEC39A17E36BA4A6B4D238FF944BACB478CBED5EFCAE784D7BF4F2FF80,
        0x59C6995E998F97A5A0044966F0945389DC9E86DAE88C7A8412F4603B6B78690D,
        0x4F3EDF983AC636A65A842CE7C78D9AA706D3B113BCE9C46F30D7D21715B23B1D,
    }
)
SMALL_KEY = 2**128
"""A private key below this was typed by hand."""


def check_secrets(settings: CommonSettings) -> None:
    """Raises `StartupError` for a secret that anybody could guess; outside production that is a warning."""
    for sentence in _weaknesses(settings):
        if settings.is_production:
            raise StartupError(sentence)
        log.warning("weak_secret", hint=sentence)


def _weaknesses(settings: CommonSettings) -> list[str]:
    found = []
    for name, field in type(settings).model_fields.items():
        given = getattr(settings, name)
        if not isinstance(given, SecretStr):
            continue
        shown, value = env_names(field)[0], given.get_secret_value()
        if name in CHOSEN and (why := _guessable(value)):
            found.append(f"{shown} {why}, so that anybody could guess it: {MAKE_ONE}.")
        if name == "private_key" and _is_everybodys(value):
            found.append(
                f"{shown} is a key that everybody knows: whatever it holds can be taken; make a new wallet."
            )
    return found


def _guessable(value: str) -> str | None:
    if any(word in value.lower() for word in _EXAMPLES) and len(value) < 2 * SHORTEST:
        return "looks like an example"
    if len(value) < SHORTEST:
        return f"is shorter than {SHORTEST} characters"
    if len(set(value)) < 6:
        return "repeats a few characters"
    return None


def _is_everybodys(key: str) -> bool:
    number = int(key, 16)
    return number < SMALL_KEY or number in _EVERYBODYS_KEYS
