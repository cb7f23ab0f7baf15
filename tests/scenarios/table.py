"""The table: all rows, by what they are about."""

from __future__ import annotations

from . import table_addresses, table_links, table_losses, table_races, table_refused
from .rows import Row

ROWS: list[Row] = [
    *table_addresses.ROWS,
    *table_links.ROWS,
    *table_refused.ROWS,
    *table_losses.ROWS,
    *table_races.ROWS,
]
