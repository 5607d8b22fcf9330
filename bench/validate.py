"""The time to judge dates, compared with hand-written SQL in the same run.

Compare the ratios; the seconds depend on the machine. The floor is one hand-written grouped query per table and pair, for the same
numbers, run by the bare DuckDB client. `make bench` writes bench/results/validate.md.
"""

import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from measuring import REPO, process, report, timed
from phasegate.adapters.warehouse.duckdb import DuckDBWarehouse
from phasegate.app.pipeline_file import load
from phasegate.core.field_syntax import Span
from phasegate.demo.warehouse import build_warehouse
from phasegate.gates.backfill import validate

FILE = REPO / "shared/pipelines/flights.yaml"
FLOOR = REPO / "bench/floor.py"
YEAR, DAY = ("2013-01-01", "2013-12-31"), ("2013-06-05", "2013-06-05")


def main() -> None:
    """Measure, print, and write the table."""
    with TemporaryDirectory() as folder:
        warehouse = Path(folder, "flights.duckdb")
        build_warehouse(warehouse)
        pipeline = load(FILE)
        now = datetime(2014, 1, 2, tzinfo=UTC)
        phasegate = str(Path(sys.executable).parent / "phasegate")
        rows = []
        for name, (first, last) in (("one date", DAY), ("365 dates", YEAR)):
            span = Span(date.fromisoformat(first), date.fromisoformat(last))
            command = (
                "validate",
                f"{first}..{last}",
                "--format",
                "json",
                "--warehouse",
                f"duckdb:{warehouse}",
                "--pipelines",
                str(FILE),
            )
            floor = timed(process(sys.executable, str(FLOOR), str(warehouse), first, last))
            whole = timed(process(phasegate, *command))
            inside = timed(
                lambda span=span: validate(pipeline, pipeline.phases, span, warehouse=DuckDBWarehouse(str(warehouse)), now=now)
            )  # type: ignore[misc]
            bare = float(
                subprocess.run([sys.executable, FLOOR, warehouse, first, last], check=True, capture_output=True).stdout
            )
            rows.append((f"{name}, whole process", floor, whole))
            rows.append((f"{name}, in process", bare, inside))
    lead = "Medians of 9 on two cores; compare the ratios. The floor: `bench/floor.py`."
    report("validate", "Judging dates", lead, rows)


if __name__ == "__main__":
    main()
