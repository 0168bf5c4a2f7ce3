"""What goes wrong between a visitor and an account."""

from shared.errors import GalaksioError


class Unauthorized(GalaksioError):
    """No token, or one that opens nothing (unknown, expired, signed out)."""

    status = 401
    code = "unauthorized"

    def __init__(self, message: str = "sign in first (POST /auth/nonce) and send the bearer token") -> None:
        super().__init__(message, headers={"WWW-Authenticate": "Bearer", "Cache-Control": "no-store"})


class SignInRefused(GalaksioError):
    """The signed text does not open a session; a new nonce is needed."""

    status = 401
    code = "sign_in_refused"

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}: ask for a new nonce", headers={"Cache-Control": "no-store"})
