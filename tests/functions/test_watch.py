"""The function `watch`, as functions-framework serves it: a tick that Pub/Sub pushes, real state, a heartbeat."""

import urllib.error
import urllib.request
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.core.field_syntax import Span
from phasegate.core.gates.gate import Reason
from phasegate.gates.heartbeat import last_heartbeats
from phasegate.gates.watching import WATCHED_SINCE
from phasegate.ports import Change, Record

from tests.serving import REPO, serving

PIPELINE = """
pipeline: tiny
calendar: {from: 2026-01-01}
phases:
  raw:
    due: 00:00 +1d
    outputs:
      raw.rows: {date: d}
"""


def post(address: str, body: bytes) -> int:
    with urllib.request.urlopen(urllib.request.Request(address, body, method="POST"), timeout=30) as answer:
        return int(answer.status)


def test_a_tick_with_any_content_notices_an_overdue_phase(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(PIPELINE)
    (tmp_path / "tables/raw").mkdir(parents=True)
    yesterday: date = datetime.now(UTC).date() - timedelta(days=1)
    (tmp_path / "tables/raw/rows.csv").write_text("d,n\n2026-01-01,1\n")
    store = SQLiteStore(str(tmp_path / "state.sqlite"))
    store.commit(Change(records=(Record(WATCHED_SINCE, "tiny", {"run_date": str(yesterday)}),)))
    environ = {
        "PHASEGATE_PIPELINES": str(tmp_path / "tiny.yaml"),
        "PHASEGATE_WAREHOUSE": f"duckdb:{tmp_path / 'tables'}",
        "PHASEGATE_STATE": f"sqlite:{tmp_path / 'state.sqlite'}",
        "PHASEGATE_BUS": "local:",
    }
    with serving(tmp_path, environ, REPO / "functions/watch/main.py", target="watch") as address:
        for body in (b"", b'{"message": {"data": "dGljaw==", "messageId": "1"}}', b"\xff"):
            assert post(address, body) == 204
    gate = store.load("tiny", Span(yesterday, yesterday))[yesterday]["raw"]
    assert (gate.reason, gate.version) == (Reason.NOTHING_HEARD, 1)
    assert datetime.now(UTC) - last_heartbeats(store)["watch"] < timedelta(minutes=1)
    assert '"event": "ticked"' in (tmp_path / "log").read_text()
