"""What can go wrong that is ours, not the snippet's.

Unavailable (503)
├── SandboxUnavailable   this machine cannot sandbox; the sentence says what to allow or install
├── RuntimeUnavailable   the language is not installed here
├── ExecutorBusy         all slots are taken and the queue is full
├── ExecutorDraining     the executor is being stopped
└── SizeUnavailable      a run of this size does not fit this executor
SandboxFailed (500)      a sandbox broke while starting or ending; the snippet is not to blame
├── RlimitsRefused       the limits of a run cannot be set from outside; never leaves the sandbox package
└── JobUnread            a waiting sandbox ended before its job had begun; never leaves the sandbox package
"""

from shared.errors import GalaksioError, Unavailable


class SandboxUnavailable(Unavailable):
    code = "sandbox_unavailable"


class RuntimeUnavailable(Unavailable):
    code = "runtime_unavailable"


class ExecutorBusy(Unavailable):
    code = "executor_busy"


class ExecutorDraining(Unavailable):
    code = "executor_draining"


class SizeUnavailable(Unavailable):
    code = "size_unavailable"


class SandboxFailed(GalaksioError):
    code = "sandbox_failed"
    retryable = True


class RlimitsRefused(SandboxFailed):
    pass


class JobUnread(SandboxFailed):
    pass
