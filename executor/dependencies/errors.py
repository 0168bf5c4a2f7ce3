"""Why packages cannot be had.

GalaksioError → Refusal, each also
├── BadRequest                400  the same wish will never come true
│   ├── DependencyNotFound         no such package, version or wheel for this machine, or they contradict
│   ├── DependencyInvalid          a package holds what no package may
│   └── DependenciesTooLarge       more than a layer may hold
└── Unavailable               503  not now; nothing was charged
    ├── DependenciesUnavailable    this host does not offer packages, and says why
    ├── IndexUnavailable           the index does not answer
    ├── DependencyTimeout          the layer was not built in time; what came goes on to be used
    └── DependencyBuildFailed      the builder broke
"""

from shared.errors import BadRequest, GalaksioError, Unavailable


class Refusal(GalaksioError):
    """Any of them. The text may be repeated to a client."""


class DependencyNotFound(Refusal, BadRequest):
    code = "dependency_not_found"


class DependencyInvalid(Refusal, BadRequest):
    code = "dependency_invalid"


class DependenciesTooLarge(Refusal, BadRequest):
    code = "dependencies_too_large"


class DependenciesUnavailable(Refusal, Unavailable):
    code = "dependencies_unavailable"


class IndexUnavailable(Refusal, Unavailable):
    code = "dependency_index_unavailable"


class DependencyTimeout(Refusal, Unavailable):
    code = "dependency_timeout"


class DependencyBuildFailed(Refusal, Unavailable):
    code = "dependency_build_failed"
