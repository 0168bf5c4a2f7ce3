"""Storing content, as it travels between client, broker and executor.

JSON is camelCase; snake_case is read too.
"""

import base64
import json
import re
import unicodedata
from mimetypes import MimeTypes
from typing import Any, Literal

from pydantic import AliasChoices, Field, ValidationError, field_validator

from shared.errors import BadRequest, GalaksioError, describe_validation
from shared.jobs import Upstream, Wire

STORE_TASK_TYPES = frozenset({"store", "storage"})
MAX_TTL_S = 10 * 365 * 86_400
DEFAULT_TTL_S = 3600
MAX_NAME_CHARACTERS = 200
UNKNOWN_TYPE = "application/octet-stream"
_TOKEN = r"[a-z0-9][a-z0-9!#$&^_.+-]{0,100}"  # noqa: S105 - RFC 6838's word for it
_TYPE = re.compile(rf"({_TOKEN}/{_TOKEN})(?:\s*;\s*charset=\"?([a-z0-9_.:-]{{1,40}})\"?)?")
# Not the machine's own list: the same file has the same type on every host.
_KNOWN_TYPES = MimeTypes(filenames=())


class StoreRequest(Wire):
    """Content to keep: an `upload`, `data`, or what is at `url`; for `ttl` seconds or, `permanent`, for good.

    `data` is text, base64 when `encoding` says so, or JSON as text when it says that. `max_bytes` is what was
    paid for: longer content is refused.
    """

    upload: str | None = Field(None, min_length=1, max_length=128)
    data: str | None = None
    encoding: Literal["utf-8", "base64", "json"] = "utf-8"
    url: str | None = Field(None, min_length=1, max_length=4096)
    filename: str | None = Field(None, validation_alias=AliasChoices("filename", "fileName", "file_name"))
    content_type: str | None = None
    permanent: bool = False
    ttl_s: int = Field(
        DEFAULT_TTL_S,
        ge=1,
        le=MAX_TTL_S,
        validation_alias=AliasChoices("ttl", "ttlS", "ttl_s"),
        serialization_alias="ttl",
    )
    max_bytes: int | None = Field(None, ge=0)

    @field_validator("filename")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        return None if value is None else clean_name(value) or None

    @field_validator("content_type")
    @classmethod
    def _plain_type(cls, value: str | None) -> str | None:
        if value is None or not value.strip():
            return None
        if (cleaned := clean_type(value)) is None:
            raise ValueError("a content type is like image/png or text/plain; charset=utf-8")
        return cleaned

    def content(self) -> bytes:
        """The bytes that `data` stands for. Raises 400 for what is not base64, 422 for half a character."""
        data = self.data or ""
        if self.encoding == "base64":
            try:
                return base64.b64decode(data, validate=True)
            except ValueError:  # also for characters beyond ASCII
                raise BadRequest("data is not base64, as its encoding says", code="invalid_base64") from None
        try:
            return data.encode()
        except UnicodeEncodeError:
            message = "a lone surrogate is no text and cannot be stored"
            raise GalaksioError(message, status=422, code="invalid_text") from None

    def type_of_data(self) -> str:
        """What `data` is when the customer did not say: by its name, else by the way it came."""
        if self.content_type:
            return self.content_type
        by_way = {"utf-8": "text/plain; charset=utf-8", "base64": UNKNOWN_TYPE, "json": "application/json"}
        return type_of_name(self.filename) or by_way[self.encoding]


class StoreResult(Wire):
    """Content that is kept. `size` is bytes, `expires_at` ISO 8601.

    It is null for what is kept for good, and for what is not `permanent` where its keeper names no end.
    """

    cid: str
    url: str
    provider: str
    size: int
    permanent: bool
    expires_at: str | None
    sha256: str
    content_type: str
    filename: str | None
    upstream: Upstream = None


class UploadInfo(Wire):
    """Content that was received whole and waits to be stored, until `expires_at` (ISO 8601)."""

    upload_id: str
    cid: str
    size_bytes: int
    sha256: str
    expires_at: str


class UrlInfo(Wire):
    """What a customer's URL says of itself; `size_bytes` is null when it does not say."""

    size_bytes: int | None
    content_type: str
    filename: str | None


def parse_store_request(body: Any) -> StoreRequest:
    """Read a store from JSON: `{upload | data | fileInline | url | fileUrl, filename, permanent, ttl, …}`.

    The settings may stand in `options`. `data` is text, any JSON, or `{url}`; it is base64 when `encoding` is
    `base64` or `isBase64` is true. Raises `BadRequest` with a sentence that says what to change.
    """
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object with `data`", code="invalid_body")
    options = body.get("options")
    fields = {**(options if isinstance(options, dict) else {}), **body}
    fields |= _source(fields)
    try:
        return StoreRequest.model_validate(
            {name: value for name, value in fields.items() if value is not None}
        )
    except ValidationError as exc:
        raise BadRequest(describe_validation(exc.errors()), code="invalid_request") from None


def _source(body: dict[str, Any]) -> dict[str, Any]:
    """`upload`, `url`, or `data` with its `encoding`: the first one that is there, the others None."""
    nothing: dict[str, Any] = {"upload": None, "data": None, "url": None, "encoding": None}
    data, url = body.get("data"), body.get("url") or body.get("fileUrl")
    if body.get("upload") is not None:
        return {**nothing, "upload": body["upload"]}
    if isinstance(data, dict) and data.keys() == {"url"}:
        return {**nothing, "url": data["url"]}
    if isinstance(data, str):
        return {**nothing, "data": data, "encoding": _encoding(body)}
    if data is not None:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        return {**nothing, "data": text, "encoding": "json"}
    if body.get("fileInline") is not None:
        return {**nothing, "data": body["fileInline"], "encoding": "base64"}
    if url is not None:
        return {**nothing, "url": url}
    raise BadRequest("data is required", code="data_required")


def _encoding(body: dict[str, Any]) -> Any:
    if body.get("isBase64") is True or body.get("is_base64") is True:
        return "base64"
    encoding = body.get("encoding")
    return (
        {"utf8": "utf-8"}.get(encoding.lower(), encoding.lower()) if isinstance(encoding, str) else encoding
    )


def clean_name(name: str) -> str:
    """A name without folders, control characters and what turns the direction of writing; may be empty."""
    last = re.split(r"[/\\]", name)[-1]
    shown = "".join(character for character in last if not unicodedata.category(character).startswith("C"))
    return shown.strip()[:MAX_NAME_CHARACTERS]


def clean_type(content_type: str) -> str | None:
    """`type/subtype`, with its charset if it has one, in lower case; None for anything else."""
    found = _TYPE.fullmatch(content_type.strip().lower())
    if found is None:
        return None
    return f"{found[1]}; charset={found[2]}" if found[2] else found[1]


def type_of_name(name: str | None) -> str | None:
    """The type that files of this name have, or None."""
    return _KNOWN_TYPES.guess_type(name)[0] if name else None
