"""The outside systems as phasegate sees them. The docstrings are the contract; one suite tests every adapter against it."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from phasegate.core.metrics import Answer, Query
from phasegate.core.notation import Span


class Warehouse(Protocol):
    """Where the pipeline's tables are. Read only."""

    def measure(self, queries: Sequence[Query], span: Span) -> Iterator[Answer]:
        """Answer each query for all dates of *span*, one `Answer` per query, in any order, as they finish.

        A table or column that is missing, SQL that the warehouse refuses, or a warehouse that does not answer makes the
        metrics that need it `Unmeasured`, and no others. `Fault.UNAVAILABLE` is what may go away by itself.

        Raises:
            ConfigError: SQL of the pipeline file does not parse; names the text.
            WarehouseError: Nothing at all could be asked (no such file, no permission to open it).
        """
        ...


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """Aware, in UTC."""
        ...
