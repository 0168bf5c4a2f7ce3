"""What goes wrong with other people's servers, and with paying them. Their own words are never passed on.

UpstreamError
├── UpstreamOff          503 nothing can be paid here
├── UpstreamOverBudget   503 it costs more than may be spent; nothing was paid
├── UpstreamResting      503 it kept failing, and is not paid for now
├── UpstreamUnreachable  502 nothing was sent, and nothing was paid
├── UpstreamRefused      502 it answered, and not with the work
└── UpstreamLost         502 nobody knows whether it did the work
"""

from shared.errors import GalaksioError


class UpstreamError(GalaksioError):
    """A provider did not do the work."""

    status = 502
    code = "upstream_failed"


class UpstreamOff(UpstreamError):
    status = 503
    code = "upstream_off"


class UpstreamOverBudget(UpstreamError):
    status = 503
    code = "upstream_over_budget"


class UpstreamResting(UpstreamError):
    status = 503
    code = "upstream_resting"


class UpstreamUnreachable(UpstreamError):
    code = "upstream_unreachable"
    retryable = True


class UpstreamRefused(UpstreamError):
    code = "upstream_refused"


class UpstreamLost(UpstreamError):
    code = "upstream_lost"
    retryable = True
