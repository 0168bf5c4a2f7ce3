"""All that is sold here."""

from broker.operations.base import Mode, Operation, Shown, Work, told
from broker.operations.cache import CACHE, TOP_UP
from broker.operations.run import RUN
from broker.operations.store import STORE

__all__ = ["CACHE", "OPERATIONS", "RUN", "STORE", "TOP_UP", "Mode", "Operation", "Shown", "Work", "told"]

OPERATIONS = {operation.name: operation for operation in (RUN, STORE, CACHE, TOP_UP)}
"""By the name under which jobs are written down."""
