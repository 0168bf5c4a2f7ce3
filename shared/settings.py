"""Settings come from the environment, then `.env.$ENV`, then `.env` (api.md, Everywhere).

A setting X that is in none of them is read from the file that `X_FILE` names: a secret of a container, say.
A service subclasses `CommonSettings`; nothing is read before `load_settings` is called.
"""

import json
import os
from pathlib import Path
from typing import Any, TypeVar

from dotenv import dotenv_values
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from shared.errors import StartupError, describe_validation
from shared.logs import get_logger

log = get_logger(__name__)

MAX_FILE_CHARACTERS = 64 * 1024
"""What the file of one setting may hold."""
NETWORK_ALIASES = {"mainnet": "base", "eip155:8453": "base", "eip155:84532": "base-sepolia"}


def names(*aliases: str) -> AliasChoices:
    """The environment names of one setting, the winning one first."""
    return AliasChoices(*aliases)


class CommonSettings(BaseModel):
    """What every service reads. Unknown names are ignored: one `.env` serves all services."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    environment: str = Field("development", validation_alias=names("PYTHON_ENV", "NODE_ENV", "ENVIRONMENT"))
    log_level: str = Field("info", validation_alias=names("LOG_LEVEL"))
    debug: bool = Field(False, validation_alias=names("DEBUG"))
    galaksio_home: Path = Field(Path("~/.galaksio"), validation_alias=names("GALAKSIO_HOME"))
    internal_api_token: SecretStr | None = Field(None, validation_alias=names("INTERNAL_API_TOKEN"))
    x402_network: str = Field("base-sepolia", validation_alias=names("X402_NETWORK"))
    max_upload_mb: int = Field(100, ge=1, le=10_000, validation_alias=names("MAX_UPLOAD_MB"))
    cors_origins: list[str] = Field(
        default_factory=list, validation_alias=names("CORS_ORIGINS", "CORS_ORIGIN")
    )

    @field_validator("galaksio_home", mode="after")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("x402_network", mode="after")
    @classmethod
    def _canonical_network(cls, value: str) -> str:
        return NETWORK_ALIASES.get(value, value)

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return json.loads(value)
        return [part.strip() for part in value.split(",") if part.strip()]

    @property
    def internal_token(self) -> str | None:
        return self.internal_api_token.get_secret_value() if self.internal_api_token else None

    @property
    def effective_log_level(self) -> str:
        return "debug" if self.debug else self.log_level


def read_environment(folder: Path | None = None) -> dict[str, str]:
    """The environment laid over `.env.$ENV` laid over `.env`; an empty value unsets.

    Files are looked for in `folder` (default: the working directory) and then in its parent, so
    that `cd quote && uvicorn main:app` finds the project's files.
    """
    start = folder or Path.cwd()
    mode = next(
        (os.environ[name] for name in ("PYTHON_ENV", "NODE_ENV", "ENVIRONMENT") if os.environ.get(name)),
        "development",
    )
    merged: dict[str, str] = {}
    for name in (".env", f".env.{mode}"):
        for place in (start, start.parent):
            if (place / name).is_file():
                merged.update({k: v for k, v in dotenv_values(place / name).items() if v})
                break
    for name, value in os.environ.items():
        if value:
            merged[name] = value
        else:
            merged.pop(name, None)
    return merged


SettingsT = TypeVar("SettingsT", bound=CommonSettings)


def load_settings(cls: type[SettingsT], values: dict[str, str] | None = None) -> SettingsT:
    """Read `cls` from `values` (default: `read_environment()`) and the files that `X_FILE` names there.

    Raises `StartupError` with one sentence that names the setting and what is wrong with it.
    """
    values = read_environment() if values is None else values
    values = {**_from_files(cls, values), **values}
    chosen: dict[str, str] = {}
    for field in cls.model_fields.values():
        given = [name for name in env_names(field) if name in values]
        if not given:
            continue
        chosen[given[0]] = values[given[0]]
        clashing = [name for name in given[1:] if values[name] != values[given[0]] and name != "PORT"]
        if clashing:
            log.warning("settings_disagree", used=given[0], ignored=clashing)
    try:
        return cls.model_validate(chosen)
    except ValidationError as exc:
        raise StartupError(f"A setting is wrong: {describe_validation(exc.errors())}.") from None
    except json.JSONDecodeError:
        raise StartupError("CORS_ORIGINS is neither a JSON list nor comma-separated.") from None


def _from_files(cls: type[CommonSettings], values: dict[str, str]) -> dict[str, str]:
    """What the files hold for the settings of `cls`; an empty file sets nothing, as an empty variable."""
    known = [name for field in cls.model_fields.values() for name in env_names(field)]
    files = {
        name: values[f"{name}_FILE"] for name in known if name not in values and f"{name}_FILE" in values
    }
    held = {name: _content(Path(file).expanduser(), f"{name}_FILE") for name, file in files.items()}
    return {name: text for name, text in held.items() if text}


def _content(file: Path, setting: str) -> str:
    try:
        with file.open(encoding="utf-8") as handle:
            text = handle.read(MAX_FILE_CHARACTERS + 1)
    except UnicodeDecodeError:
        raise StartupError(f"{setting} names {file}, which is not UTF-8 text.") from None
    except OSError as exc:
        raise StartupError(
            f"{setting} names {file}, which cannot be read ({exc.strerror}): "
            "make it readable for this user, or unset the setting."
        ) from None
    if len(text) > MAX_FILE_CHARACTERS:
        raise StartupError(f"{setting} names {file}, which is too large for a setting.")
    return text.strip()


def env_names(field: Any) -> list[str]:
    """The environment names of a settings field, the winning one first."""
    alias = field.validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else []


def private_folder(path: Path) -> Path:
    """Create `path` for this user only (0700) and return it. Raises `StartupError` if it cannot."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError
    except OSError as exc:
        raise StartupError(
            f"The data folder {path} cannot be written ({exc.strerror or 'permission denied'}): "
            "set GALAKSIO_HOME to a folder this user owns."
        ) from None
    return path
