"""What can go wrong with stored content.

StorageFull        507    no room; nothing is left of what came
StorageDown        503    the place of the content does not answer
UploadIncomplete   400    the body ended before its end, or stood still
ContentTooLarge    413    more bytes than allowed, or than were paid for
NoSuchUpload       404    never was, used up, or expired
NotStored          404    nobody keeps this content
Expired            410    somebody did
"""

from shared.errors import BadRequest, GalaksioError, Unavailable


class StorageFull(GalaksioError):
    status = 507
    code = "storage_full"
    retryable = True

    def __init__(self, message: str = "there is no room for this content on this host") -> None:
        super().__init__(message, retry_after_s=RETRY_FULL_S)


class StorageDown(Unavailable):
    code = "storage_unavailable"


class UploadIncomplete(BadRequest):
    code = "upload_incomplete"
    retryable = True


class ContentTooLarge(GalaksioError):
    status = 413
    code = "content_too_large"


class NoSuchUpload(GalaksioError):
    status = 404
    code = "upload_not_found"


class NotStored(GalaksioError):
    status = 404
    code = "content_not_found"


class Expired(GalaksioError):
    status = 410
    code = "content_expired"


RETRY_FULL_S = 60
"""When to ask again: content expires all the time, and is swept every minute."""
