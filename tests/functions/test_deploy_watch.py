"""The function `deploy_watch`, as functions-framework serves it: pushes as Pub/Sub makes them, real state."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.gates.heartbeat import last_heartbeats

from tests.functions.test_watch import PIPELINE, post
from tests.installation.test_deployment import NOW, build, drift
from tests.serving import REPO, serving


def push(body: object, **attributes: str) -> bytes:
    data = base64.b64encode(body if isinstance(body, bytes) else json.dumps(body).encode()).decode()
    message = {"data": data, "messageId": "1", "publishTime": "2026-03-02T08:00:00Z", "attributes": attributes}
    return json.dumps({"message": message, "subscription": "projects/p/subscriptions/acme-builds"}).encode()


def test_builds_and_drift_are_handled_and_a_malformed_message_is_stored(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(PIPELINE)
    environ = {
        "PHASEGATE_PIPELINES": str(tmp_path / "tiny.yaml"),
        "PHASEGATE_WAREHOUSE": "bigquery:some-project",
        "PHASEGATE_STATE": f"sqlite:{tmp_path / 'state.sqlite'}",
        "PHASEGATE_BUS": "local:",
    }
    ours = build(substitutions={"TRIGGER_NAME": "phasegate-deploy"})
    with serving(tmp_path, environ, REPO / "functions/deploy_watch/main.py", target="deploy_watch") as address:
        assert post(address, push(ours, buildId=ours["id"], status=ours["status"])) == 204
        assert post(address, push(build(substitutions={}))) == 204
        assert post(address, push(drift("clean", at=NOW + timedelta(minutes=20)))) == 204
        assert post(address, push(b"no message of ours")) == 204
    store = SQLiteStore(str(tmp_path / "state.sqlite"))
    assert {record.key for record in store.live("deployment")} == {"run", "phasegate-deploy", "infrastructure", "drift-check"}
    assert len(store.rejected(10)) == 1
    assert last_heartbeats(store, ["deploy_watch"])["deploy_watch"] <= datetime.now(UTC)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith('{"')]
    details = [line.get("detail") for line in lines if line["event"] in ("decided", "passed_over")]
    assert details == [
        "phasegate-deploy: build 8f5c1a52 failed in step apply",
        "build 8f5c1a52-aaaa does not belong to phasegate",
        "infrastructure: ok; drift-check: ok",
    ]
