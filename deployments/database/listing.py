"""A page of a tenant's rows, by creation."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa

from deployments.database.batch_records import Listed
from deployments.database.records import NotThere
from deployments.database.rows import Row
from deployments.database.transactions import reading


def list_rows(
    engine: sa.Engine,
    table: sa.Table,
    shown: sa.ColumnElement[bool],
    tenant: str,
    *,
    after: str | None,
    limit: int,
    order: Literal["asc", "desc"],
) -> Listed[Row]:
    """Rows of a table with `id`, `tenant` and `created_at`; `after` is the last id of the page before.

    Raises:
        NotThere: for an unknown `after`.
    """
    columns: tuple[sa.Column[Any], ...] = (table.c.created_at, table.c.id)
    place, is_up = sa.tuple_(*columns), order == "asc"
    query = sa.select(table).where(table.c.tenant == tenant, shown).limit(limit + 1)
    query = query.order_by(*(column.asc() if is_up else column.desc() for column in columns))
    with reading(engine) as conn:
        if after is not None:
            is_last = (table.c.id == after) & (table.c.tenant == tenant)
            last = conn.execute(sa.select(*columns).where(is_last)).one_or_none()
            if last is None:
                raise NotThere(after)
            query = query.where(place > tuple(last) if is_up else place < tuple(last))
        rows = conn.execute(query).all()
    return Listed(rows[:limit], has_more=len(rows) > limit)
