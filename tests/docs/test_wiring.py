"""docs/wiring.md is right: its pipeline file loads, its messages are read, its scripts run, its consumer starts phases once."""

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import chdir
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import phasegate
import pytest
from jsonschema import Draft202012Validator
from phasegate.adapters.local import LocalBus
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.app.pipeline_file import load
from phasegate.client.preflight import PREFLIGHT
from phasegate.client.report import Reporter
from phasegate.core.checks.metrics import Rows
from phasegate.core.gates.completion import Completion, Envelope, RunKey, Status, parse_completion
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ConfigError
from phasegate.gates.monitor import Monitor
from phasegate.messaging.bodies import ALERTS, EVENTS
from phasegate.ports import Outgoing
from phasegate.schemas import schema
from phasegate.testing import ManualClock, ScriptedWarehouse

REPO = Path(__file__).parents[2]
TEXT = (REPO / "docs" / "wiring.md").read_text()
FLIGHTS = load(REPO / "shared" / "pipelines" / "flights.yaml")
NOW = datetime(2026, 3, 3, 9, 13, tzinfo=UTC)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


PYTHON, SHELL = blocks("python"), blocks("sh")
MESSAGES = [json.loads(block) for block in blocks("json")]
(THEIRS,) = [body for body in MESSAGES if "processor_name" in body]
(SIGNAL,) = [body for body in MESSAGES if "decision_id" in body]
OURS = [body for body in MESSAGES if body not in (THEIRS, SIGNAL)]


@pytest.fixture
def games(tmp_path: Path) -> Pipeline:
    """The pipeline of the document."""
    (text,) = blocks("yaml")
    path = tmp_path / "games.yaml"
    path.write_text(text)
    return load(path)


def understood(body: Mapping[str, Any] | None, pipeline: Pipeline, attributes: Mapping[str, str] | None = None) -> Completion:
    data = b"" if body is None else json.dumps(body).encode()
    return parse_completion(Envelope("m", data, attributes or {}), [pipeline], now=datetime.now(UTC))


@pytest.mark.parametrize("body", OURS)
def test_its_completions_match_the_schema_and_are_read(body):
    Draft202012Validator(schema("completion")).validate(body)
    understood(body, FLIGHTS)


def test_the_foreign_message_is_read_unchanged(games):
    found = understood(THEIRS, games)
    assert str(found.run) == "games/analytics/2026-03-02"
    report = found.report
    assert (report.producer, report.status, report.rows, report.run_id) == ("player_summary", Status.DONE, 214, "7c9e6679")
    assert report.finished_at == datetime(2026, 3, 3, 9, 12, 44, tzinfo=UTC)
    assert understood(THEIRS | {"status": "no_data"}, games).report.status is Status.NOTHING


def released(games: Pipeline) -> Sequence[Outgoing]:
    """The messages sent for the foreign message when its table is filled, and then for another one with an empty table."""
    bus, store, sent = LocalBus(), SQLiteStore(":memory:"), list[Outgoing]()
    for topic in ("games-analytics-go", ALERTS, EVENTS):
        bus.subscribe(topic, sent.append)
    run = understood(THEIRS, games).run
    warehouse = ScriptedWarehouse({("analytics.player_game_summary", run.run_date): {Rows(): 214}})
    monitor = Monitor([games], warehouse=warehouse, store=store, outbox=store, publisher=bus, clock=ManualClock(NOW))
    monitor.handle(Envelope("m1", json.dumps(THEIRS).encode(), {}))
    before = THEIRS | {"game_date": str(run.run_date - timedelta(days=1))}
    monitor.handle(Envelope("m2", json.dumps(before).encode(), {}))
    return sent


def test_its_go_signal_is_the_one_that_is_sent(games):
    signal = released(games)[0]
    assert (signal.topic, signal.body) == ("games-analytics-go", SIGNAL)
    Draft202012Validator(schema("go-signal")).validate(signal.body)


TOPICS = {"go-signal": "games-analytics-go", "alert": ALERTS, "event": EVENTS}


@pytest.mark.parametrize("message", TOPICS)
def test_it_names_the_topic_and_the_attributes_of_a_message(message, games):
    sent = {name: message for name, topic in TOPICS.items() for message in released(games) if message.topic == topic}
    ((topic, row),) = re.findall(rf"^\| {message} \|([^|]*)\|([^|]*)\|", TEXT, re.MULTILINE)
    template = TOPICS[message].replace("games-analytics", "<pipeline>-<phase>")
    assert topic.strip() == f"`<prefix>-{template}`"
    named = set(re.findall(r"`(\w+)`", row))
    assert named - {"traceparent"} == {*sent[message].attributes, "key"}


def test_it_names_the_attributes_that_a_job_sets():
    """The attributes of a completion, whose `key` the bus adds."""
    taken: list[Outgoing] = []
    bus = LocalBus()
    bus.subscribe("flights-raw-complete", taken.append)
    trace = next(body["traceparent"] for body in OURS if "traceparent" in body)
    environ = {"PHASEGATE_PIPELINES": str(REPO / "shared" / "pipelines")}
    arguments = {"producer": "flights_loader", "run_date": "2013-02-06", "traceparent": trace}
    with phasegate.report("raw", publisher=bus, environ=environ, **arguments):
        pass
    (row,) = re.findall(r"^\| completion \|[^|]*\|([^|]*)\|", TEXT, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) - {"report"} == {*taken[0].attributes, "key"}


@pytest.mark.parametrize("code", PYTHON)
def test_its_python_compiles_and_calls_existing_functions(code):
    tree = ast.parse(code)
    compile(tree, "wiring.md", "exec")
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        if ast.unparse(call.func) in ("phasegate.preflight", "phasegate.report", "phasegate.retrying"):
            function = getattr(phasegate, ast.unparse(call.func).removeprefix("phasegate."))
            inspect.signature(function).bind(*call.args, **{word.arg: word.value for word in call.keywords if word.arg})


def test_it_names_every_variable_that_a_report_reads():
    source = inspect.getsource(sys.modules[Reporter.__module__])
    read = set(re.findall(r'"(PHASEGATE_[A-Z_]+|CLOUD_RUN_[A-Z_]+|TRACEPARENT)"', source))
    assert len(read) == 4
    assert {name for name in read if f"`{name}`" not in TEXT} == set()


def test_it_names_the_variable_of_the_preflight_function():
    assert f"`{PREFLIGHT}`" in TEXT


def test_the_airflow_callback_reports_success_and_failure():
    (code,) = [block for block in PYTHON if "callback" in block]
    reported: list[Mapping[str, Any]] = []

    class Told:
        @staticmethod
        def report(phase: str, **given: Any) -> Reporter:
            bus = LocalBus()
            bus.subscribe(f"flights-{phase}-complete", lambda message: reported.append(message.body))
            environ = {"PHASEGATE_PIPELINES": str(REPO / "shared" / "pipelines")}
            return phasegate.report(phase, publisher=bus, environ=environ, **given)

    class TaskInstance:
        try_number = 2
        start_date = NOW

    space: dict[str, Any] = {"phasegate": Told}
    exec(compile(code.replace("import phasegate\n", ""), "wiring.md", "exec"), space)  # noqa: S102
    context = {"ds": "2013-02-06", "run_id": "scheduled__2013-02-06", "ti": TaskInstance()}
    space["callbacks"]["on_success_callback"](context)
    space["callbacks"]["on_failure_callback"](context | {"exception": ValueError("no file")})
    told = [understood(body, FLIGHTS).report for body in reported]
    assert [(report.status, report.error, report.attempt) for report in told] == [
        (Status.DONE, None, 2),
        (Status.FAILED, "no file", 2),
    ]
    assert told[0].started_at == NOW
    # Runs without a logical date: triggered by assets, or started manually.
    event = SimpleNamespace(extra={"run_date": "2013-02-07"})
    untimed = {
        "run_id": "asset_triggered__1",
        "ti": TaskInstance(),
        "dag_run": SimpleNamespace(conf={"run_date": "2013-02-08"}),
    }
    space["callbacks"]["on_success_callback"](untimed | {"triggering_asset_events": {"a": [event], "b": [event]}})
    space["callbacks"]["on_success_callback"](untimed)
    assert [body["run_date"] for body in reported[2:]] == ["2013-02-07", "2013-02-08"]
    with pytest.raises(ConfigError, match="run_date"):
        space["callbacks"]["on_success_callback"](untimed | {"dag_run": SimpleNamespace(conf=None)})


def test_the_consumer_starts_each_phase_once(tmp_path):
    """Also when the first start fails: then nothing was started, and the message is redelivered."""
    (code,) = [block for block in PYTHON if "consume" in block]
    space: dict[str, Any] = {}
    started: list[tuple[str, str]] = []

    def fail(*_: str) -> None:
        raise ConnectionError

    with chdir(tmp_path):
        exec(compile(code, "wiring.md", "exec"), space)  # noqa: S102
    consume, data = space["consume"], json.dumps(SIGNAL)
    with pytest.raises(ConnectionError):
        consume(data, fail)
    for _ in range(3):
        consume(data, lambda *given: started.append(given))
    consume(json.dumps(SIGNAL | {"decision_id": "games/analytics/2026-03-02/g2"}), lambda *given: started.append(given))
    space["db"].close()
    assert started == [("predictions", "2026-03-02")] * 2


def executable(path: Path, text: str) -> None:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


def ran(script: str, folder: Path, *, code: int) -> tuple[int, list[list[str]]]:
    """Run a script whose job ends with *code*; gives its own exit code, and what gcloud was called with."""
    executable(folder / "gcloud", 'for each in "$@"; do printf "%s\\0" "$each"; done >> calls; echo >> calls\n')
    executable(folder / "dbt", f"exit {code}\n")
    executable(folder / "load_flights", f"exit {code}\n")
    environ = {"PATH": f"{folder}:{os.environ['PATH']}", "HOSTNAME": "host"}
    done = subprocess.run(["bash", "-c", script, "script", "2013-02-06"], cwd=folder, env=environ, check=False, timeout=60)
    calls = (folder / "calls").read_text().split("\0\n")[:-1]
    return done.returncode, [call.split("\0") for call in calls]


PUBLISHING = [block for block in SHELL if "topics publish" in block]


@pytest.mark.parametrize("script", PUBLISHING)
@pytest.mark.parametrize(("code", "status"), [(0, Status.DONE), (3, Status.FAILED)])
def test_its_scripts_report_the_result_of_the_job(script, code, status, tmp_path):
    returned, ((*_, topic, said),) = ran(script, tmp_path, code=code)
    option, _, text = said.partition("=")
    if option == "--attribute":
        found = understood(None, FLIGHTS, dict(pair.split("=") for pair in text.split(",")))
        assert (found.report.status, found.report.rows) == (Status.DONE, 72)
    else:
        body = json.loads(text)
        Draft202012Validator(schema("completion")).validate(body)
        found = understood(body, FLIGHTS)
        assert (returned, found.report.status) == (code, status)
        assert found.report.started_at is not None
    assert topic == f"projects/my-project/topics/phasegate-flights-{found.run.phase}-complete"
    assert found.run == RunKey("flights", found.run.phase, datetime(2013, 2, 6).date())


def test_its_command_runs(demo_warehouse, tmp_path):
    (script,) = [block for block in SHELL if block.count("phasegate complete")]
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PHASEGATE_PIPELINES": str(REPO / "shared" / "pipelines"),
        "PHASEGATE_WAREHOUSE": f"duckdb:{demo_warehouse}",
        "PHASEGATE_STATE": f"sqlite:{tmp_path / 'state.sqlite'}",
    }
    done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.startswith("flights/raw/2013-02-06 is ")
