"""Sign-in with a wallet (EIP-4361): the broker writes the text, the wallet signs it, a session begins.

A nonce is used up by the first attempt with it, good or bad, on whichever broker of the database it comes
in. Sessions are random tokens of 256 bits, of which only the SHA-256 is kept.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.address import to_checksum_address
from sqlalchemy import Connection, delete, func, insert, select

from broker.accounts.errors import SignInRefused
from broker.accounts.tables import sessions, signin_nonces
from shared.clock import Clock, iso
from shared.database import Database
from shared.errors import BadRequest, Unavailable
from shared.sign_in import SignInMessage, domain_of, parse_sign_in

NONCE_TTL_MS = 5 * 60 * 1000
SESSION_TTL_MS = 60 * 60 * 1000
MAX_PENDING = 50_000
"""Sign-ins that were begun and not finished; over it nobody can begin one until some expire."""


@dataclass(frozen=True)
class Issued:
    """A text to be signed. `expires_at_ms` is Unix milliseconds."""

    message: str
    nonce: str
    expires_at_ms: int


@dataclass(frozen=True)
class Session:
    """An open session. `token` is shown this once; `address` has its checksum."""

    token: str
    address: str
    expires_at_ms: int


class SignIn:
    """Nonces and sessions on one database, shared by all its brokers."""

    def __init__(self, database: Database, clock: Clock, chain_id: int) -> None:
        self._database = database
        self._clock = clock
        self._chain_id = chain_id

    async def issue(self, address: str, base_url: str) -> Issued:
        """The text for `address` (0x and 40 hex digits) to sign. Raises `Unavailable` over `MAX_PENDING`."""
        now, nonce = self._now_ms(), secrets.token_hex(16)
        expires = now + NONCE_TTL_MS
        message = SignInMessage(
            domain=domain_of(base_url),
            address=to_checksum_address(address),
            uri=base_url,
            chain_id=self._chain_id,
            nonce=nonce,
            issued_at=iso(now / 1000),
            expiration_time=iso(expires / 1000),
        ).text()
        row = {"nonce": nonce, "address": address.lower(), "message": message, "expires_at": expires}
        pending = select(func.count()).select_from(signin_nonces).where(signin_nonces.c.expires_at > now)

        def begin(connection: Connection) -> None:
            if connection.execute(pending).scalar_one() >= MAX_PENDING:
                raise Unavailable("too many sign-ins were begun at once", code="sign_in_busy")
            connection.execute(insert(signin_nonces).values(row))

        await self._database.write(begin)
        return Issued(message, nonce, expires)

    async def verify(self, signature: str, *, nonce: str | None, message: str | None) -> Session:
        """Open a session for the signer of an issued text, named by its nonce or given whole.

        Raises `BadRequest` when neither is given, `SignInRefused` for whatever is not the exact text that
        was issued, not yet used, not expired, and signed by the key of its address (plain keys only).
        """
        if message is not None:
            nonce = _nonce_of(message)
        if nonce is None:
            raise BadRequest("send the message that was signed, or its nonce", code="nonce_required")
        address, issued, expires = await self._take(nonce)
        if expires <= self._now_ms():
            raise SignInRefused("this sign-in has expired")
        if message is not None and not hmac.compare_digest(message.encode(), issued.encode()):
            raise SignInRefused("this is not the text that was issued")
        if _signer(issued, signature) != address:
            raise SignInRefused("the signature is not that of the address")
        return await self._open(address)

    async def address_of(self, token: str) -> str | None:
        """The address (lower case) whose session `token` is; None for an unknown or expired one."""
        query = select(sessions.c.address).where(
            sessions.c.token_hash == _digest(token), sessions.c.expires_at > self._now_ms()
        )
        return await self._database.read(lambda connection: connection.execute(query).scalar_one_or_none())

    async def close(self, token: str) -> None:
        """End the session of `token`, if there is one."""
        ended = delete(sessions).where(sessions.c.token_hash == _digest(token))
        await self._database.write(lambda connection: connection.execute(ended))

    async def sweep(self) -> int:
        """Delete expired nonces and sessions; returns how many."""
        now = self._now_ms()

        def remove(connection: Connection) -> int:
            expired = [delete(table).where(table.c.expires_at <= now) for table in (signin_nonces, sessions)]
            return sum(connection.execute(statement).rowcount for statement in expired)

        return await self._database.write(remove)

    async def _take(self, nonce: str) -> tuple[str, str, int]:
        """Use `nonce` up: of any number of takers one gets its address, text and expiry."""
        taken = (
            delete(signin_nonces)
            .where(signin_nonces.c.nonce == nonce)
            .returning(signin_nonces.c.address, signin_nonces.c.message, signin_nonces.c.expires_at)
        )
        row = await self._database.write(lambda connection: connection.execute(taken).one_or_none())
        if row is None:
            raise SignInRefused("this sign-in is unknown or was used before")
        return row.address, row.message, row.expires_at

    async def _open(self, address: str) -> Session:
        token, now = secrets.token_urlsafe(32), self._now_ms()
        opened = insert(sessions).values(
            token_hash=_digest(token), address=address, created_at=now, expires_at=now + SESSION_TTL_MS
        )
        await self._database.write(lambda connection: connection.execute(opened))
        return Session(token, to_checksum_address(address), now + SESSION_TTL_MS)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _nonce_of(message: str) -> str:
    try:
        return parse_sign_in(message).nonce
    except ValueError:
        raise SignInRefused("this is not the text that was issued") from None


def _signer(message: str, signature: str) -> str | None:
    """The address (lower case) that signed `message` as EIP-191 text; None when that cannot be told."""
    try:
        return str(Account.recover_message(encode_defunct(text=message), signature=signature)).lower()
    except Exception:  # eth-keys raises many kinds for bytes that are no signature
        return None
