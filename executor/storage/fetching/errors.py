"""Why a customer's URL was not fetched.

GalaksioError
├── FetchRefused       400  the URL is not one that we fetch, or leads to one
├── FetchFailed        422  the URL does not give a file
│   └── Unreachable    502  nothing, or nothing whole, came back: the same URL may work later
└── TooLarge           413  the file has more bytes than may be taken

No text names an address: a caller could learn from it how names resolve in here.
"""

from shared.errors import BadRequest, GalaksioError


class FetchRefused(BadRequest):
    code = "url_not_allowed"


class FetchFailed(GalaksioError):
    status = 422
    code = "url_not_fetched"


class Unreachable(FetchFailed):
    status = 502
    retryable = True


class TooLarge(GalaksioError):
    status = 413
    code = "file_too_large"
