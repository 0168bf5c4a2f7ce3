"""Statements that are run over and over: compiled once, and on SQLite handed to the driver as text.

SQLAlchemy's own way, with its cache, costs three times as much as such a statement takes in SQLite. Only for
columns of text and integers, which need no conversion, and without `in_` over parameters, whose number is in
the text; a result's rows are as ever.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Select, Update
from sqlalchemy.dialects import sqlite

_DIALECT = sqlite.dialect(paramstyle="qmark")
Statement = Insert | Update | Delete | Select[Any]


def run(connection: Connection, statement: Statement, values: Mapping[str, Any]) -> Any:
    """The `CursorResult` of `statement` with `values` for its parameters (and, for an insert, its columns).

    `statement` has to be one that is kept: it is remembered by identity.
    """
    if connection.dialect.name != "sqlite":
        return connection.execute(statement, dict(values))
    text, names, constants = _compiled(statement, tuple(values))
    return connection.exec_driver_sql(
        text, tuple(values[name] if name in values else constants[name] for name in names)
    )


@lru_cache(maxsize=256)
def _compiled(statement: Statement, given: tuple[str, ...]) -> tuple[str, tuple[str, ...], Mapping[str, Any]]:
    """The text, the parameters in the order of its question marks, and those that are always the same."""
    compiled = statement.compile(
        dialect=_DIALECT,
        column_keys=list(given) if isinstance(statement, Insert) else None,
    )
    constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
    return str(compiled), tuple(compiled.positiontup or ()), constants
