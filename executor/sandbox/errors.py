"""What can go wrong that is ours, not the snippet's.

Unavailable (503)
├── SandboxUnavailable   this machine cannot sandbox; the sentence says what to allow or install
├── RuntimeUnavailable   the language is not installed here
└── ExecutorBusy         all slots are taken and the queue is full
SandboxFailed (500)      a sandbox broke while starting or ending; the snippet is not to blame
"""

from shared.errors import GalaksioError, Unavailable


class SandboxUnavailable(Unavailable):
    code = "sandbox_unavailable"


class RuntimeUnavailable(Unavailable):
    code = "runtime_unavailable"


class ExecutorBusy(Unavailable):
    code = "executor_busy"


class SandboxFailed(GalaksioError):
    code = "sandbox_failed"
    retryable = True
