"""`phasegate complete`: times without a zone are the pipeline's."""

from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.core.field_syntax import Span
from phasegate.testing import ManualClock

from tests.cli.test_actions import run

DAY = date(2026, 3, 2)
NOW = datetime(2026, 3, 3, 1, tzinfo=UTC)
"""10:00 in Tokyo, 20:00 of the day before in New York."""


@pytest.mark.parametrize(
    ("zone", "started", "moment"),
    [
        ("Asia/Tokyo", "2026-03-03T09:00", datetime(2026, 3, 3, 0, tzinfo=UTC)),
        ("Asia/Tokyo", "2026-03-03T09:00+09:00", datetime(2026, 3, 3, 0, tzinfo=UTC)),
        ("America/New_York", "2026-03-02T19:30", datetime(2026, 3, 3, 0, 30, tzinfo=UTC)),
        ("UTC", "2026-03-03T00:30", datetime(2026, 3, 3, 0, 30, tzinfo=UTC)),
    ],
)
def test_a_start_without_a_zone_is_the_local_time_of_the_pipeline(
    tmp_path: Path, zone: str, started: str, moment: datetime
) -> None:
    (tmp_path / "shop.yaml").write_text(
        f"pipeline: shop\ntimezone: {zone}\ncalendar: {{from: 2026-01-01}}\nphases: {{raw: {{outputs: {{raw.orders: {{date: day}}}}}}}}\n"
    )
    with duckdb.connect(str(tmp_path / "wh.duckdb")) as connection:
        connection.execute("CREATE SCHEMA raw; CREATE TABLE raw.orders AS SELECT DATE '2026-03-02' AS day")
    places = ("--pipelines", "shop.yaml", "--warehouse", "duckdb:wh.duckdb", "--state", "sqlite:state.sqlite")
    done = run(tmp_path, "complete", "raw", str(DAY), "--started", started, *places, clock=ManualClock(NOW))
    assert done.returncode == 0, done.stderr
    gate = SQLiteStore(str(tmp_path / "state.sqlite")).load("shop", Span(DAY, DAY))[DAY]["raw"]
    assert gate.reports["raw"].started_at == moment
