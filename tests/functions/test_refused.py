"""A refused request leaves no heartbeat: anyone can send any number of them."""

from pathlib import Path

import pytest
from phasegate.app import http
from phasegate.app.wiring import Wiring
from phasegate.gates.heartbeat import last_heartbeats
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from tests.serving import REPO

REFUSED = {
    "phase_monitor": ("handle_completion", "GET", 405),
    "deploy_watch": ("handle_deployment", "GET", 405),
    "dead_letter": ("handle_dead_letter", "GET", 405),
    "alert_dispatch": ("handle_alert", "GET", 405),
    "watch": ("handle_tick", "GET", 405),
    "preflight": ("handle_preflight", "DELETE", 405),
    "acknowledge": ("handle_acknowledgement", "GET", 403),
}


def test_every_function_is_in_the_list() -> None:
    assert REFUSED.keys() == {path.parent.name for path in (REPO / "functions").glob("*/main.py")}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_request_leaves_no_heartbeat(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHASEGATE_SECRET_LINK_KEY", "k" * 32)
    wiring = Wiring.from_env(
        {
            "PHASEGATE_PIPELINES": str(REPO / "shared/pipelines/flights.yaml"),
            "PHASEGATE_WAREHOUSE": f"duckdb:{tmp_path / 'warehouse.duckdb'}",
            "PHASEGATE_STATE": f"sqlite:{tmp_path / 'state.sqlite'}",
            "PHASEGATE_BUS": "local:",
            "PHASEGATE_ACKNOWLEDGE_URL": "https://example.com/ack",
            "PHASEGATE_LINK_KEY": "secret://link-key",
        }
    )
    verb, method, status = REFUSED[name]
    answer = getattr(http, verb)(wiring, Request(EnvironBuilder(method=method, query_string={"token": "forged"}).get_environ()))
    assert answer[1] == status
    assert not last_heartbeats(wiring.store, [name])
