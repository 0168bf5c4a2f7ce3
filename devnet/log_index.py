"""Every log of the chain as a row, indexed by its topics: `eth_getLogs` reads no block.

A block's rows are written in the transaction that writes the block. A state file from before this index, or
one that an older version went on with, is caught up when it is opened.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from eth.abc import BlockHeaderAPI, LogAPI

from devnet.store import ChainStore

MAX_TOPICS = 4

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS log (block INTEGER, position INTEGER, block_hash BLOB NOT NULL,"
    " transaction_hash BLOB NOT NULL, address BLOB NOT NULL, topic0 BLOB, topic1 BLOB, topic2 BLOB,"
    " topic3 BLOB, data BLOB NOT NULL, PRIMARY KEY (block, position)) WITHOUT ROWID",
    # An event's first topic is its kind and does not narrow much: the indexed arguments are behind it.
    "CREATE INDEX IF NOT EXISTS log_topic1 ON log (topic1, topic2)",
    "CREATE INDEX IF NOT EXISTS log_topic2 ON log (topic2)",
    "CREATE INDEX IF NOT EXISTS log_topic3 ON log (topic3)",
    "CREATE TABLE IF NOT EXISTS log_head (one INTEGER PRIMARY KEY CHECK (one = 1), block INTEGER NOT NULL)",
)
_INSERT = "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_MOVE_HEAD = "INSERT OR REPLACE INTO log_head VALUES (1, ?)"
_SELECT = (
    "SELECT block, position, block_hash, transaction_hash, address, data, topic0, topic1, topic2, topic3"
    " FROM log"
)


@dataclass(frozen=True)
class Log:
    """A log and where it is. `position` counts from 0 in its block."""

    block: int
    position: int
    block_hash: bytes
    transaction_hash: bytes
    address: bytes
    data: bytes
    topics: tuple[bytes, ...]


@dataclass(frozen=True)
class LogFilter:
    """Logs of blocks `first` to `last`, both included, from any of `addresses` (empty: from anybody).

    `topics[i]` lists what topic i may be; an empty list takes any value, but the log must have that topic.
    """

    first: int
    last: int
    addresses: Sequence[bytes] = ()
    topics: Sequence[Sequence[bytes]] = ()

    @property
    def is_narrow(self) -> bool:
        """True when an index leads to the logs, so that the number of blocks does not matter."""
        return any(self.topics[1:])


def logs_of(header: BlockHeaderAPI, transaction_hash: bytes, logs: Sequence[LogAPI]) -> list[Log]:
    """The logs of the one transaction of a block."""
    return [
        Log(
            block=header.block_number,
            position=position,
            block_hash=bytes(header.hash),
            transaction_hash=bytes(transaction_hash),
            address=bytes(log.address),
            topics=tuple(topic.to_bytes(32, "big") for topic in log.topics),
            data=bytes(log.data),
        )
        for position, log in enumerate(logs)
    ]


class LogIndex:
    """The log table in the chain's own file, for the chain's thread."""

    def __init__(self, store: ChainStore) -> None:
        self._store = store
        for statement in _SCHEMA:
            store.write_at_commit(statement)
        store.commit()

    @property
    def head(self) -> int:
        """The newest block whose logs are here; 0, the genesis block, has none."""
        rows = self._store.read("SELECT block FROM log_head", ())
        return int(rows[0][0]) if rows else 0

    def add(self, block: int, logs: Iterable[Log]) -> None:
        """Write the logs of `block`, and the head, with the store's next commit."""
        for log in logs:
            topics = (*log.topics, *(None,) * (MAX_TOPICS - len(log.topics)))
            where = (log.block, log.position, log.block_hash, log.transaction_hash)
            self._store.write_at_commit(_INSERT, (*where, log.address, *topics, log.data))
        self._store.write_at_commit(_MOVE_HEAD, (block,))

    def find(self, wanted: LogFilter, limit: int) -> list[Log]:
        """The first `limit` logs that pass, oldest first."""
        conditions = ["block BETWEEN ? AND ?"]
        parameters: list[bytes | int] = [wanted.first, wanted.last]
        for column, allowed in _columns(wanted):
            if allowed:
                conditions.append(f"{column} IN ({', '.join('?' * len(allowed))})")
                parameters.extend(allowed)
            else:
                conditions.append(f"{column} IS NOT NULL")
        sql = f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY block, position LIMIT ?"
        rows = self._store.read(sql, (*parameters, limit))
        return [_log(row) for row in rows]


def _log(row: tuple[Any, ...]) -> Log:
    block, position, block_hash, transaction_hash, address, data, *topics = row
    present = tuple(topic for topic in topics if topic is not None)
    return Log(block, position, block_hash, transaction_hash, address, data, present)


def _columns(wanted: LogFilter) -> list[tuple[str, Sequence[bytes]]]:
    addresses: list[tuple[str, Sequence[bytes]]] = [("address", wanted.addresses)] if wanted.addresses else []
    return addresses + [(f"topic{index}", allowed) for index, allowed in enumerate(wanted.topics)]
