"""The result of a plan as a message: every resource and argument by name, never a value, and of limited size."""

import json
import runpy
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from phasegate.schemas import schema

from tests.serving import REPO

SCRIPT = REPO / "infra/drift.py"
DRIFT = runpy.run_path(str(SCRIPT))
PLAN = Path(__file__).parent / "data/drift.plan.json"
"""A small configuration after five manual changes, as Terraform 1.11 wrote it with the offline provider."""

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
VALIDATOR = Draft202012Validator(schema("drift"), format_checker=FormatChecker())


def told(*arguments: object) -> Any:
    done = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    VALIDATOR.validate(found)
    return found


def by_address(message: Any) -> dict[str, tuple[str, list[str]]]:
    return {change["address"]: (change["action"], change["arguments"]) for change in message["changes"]}


def test_each_manually_changed_resource_and_argument_is_named() -> None:
    message = told(PLAN, "--exit-code", 2, "--commit", "4f2a", "--build", "b-1")
    assert by_address(message) == {
        "google_cloudfunctions2_function.monitor": (
            "update",
            ["service_config[0].environment_variables.PHASEGATE_STATE", "service_config[0].min_instance_count"],
        ),
        'google_pubsub_subscription.complete["clean"]': ("create", []),
        'google_pubsub_subscription.complete["raw"]': (
            "update",
            ["ack_deadline_seconds", "expiration_policy[0].ttl", "push_config[0].oidc_token[0].audience"],
        ),
        'google_pubsub_topic.complete["clean"]': ("update", ['labels["team-a"]']),
        'google_pubsub_topic.complete["raw"]': ("update", ['labels["team-a"]']),
        "google_pubsub_topic_iam_binding.publish": ("update", ["members"]),
    }
    assert (message["outcome"], message["omitted"], message["commit"], message["build"]) == ("drifted", 0, "4f2a", "b-1")
    assert message["at"] == json.loads(PLAN.read_text())["timestamp"]


def leaves(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {leaf for each in value.values() for leaf in leaves(each)}
    if isinstance(value, list):
        return {leaf for each in value for leaf in leaves(each)}
    return {value} if isinstance(value, str) else set()


def test_it_has_no_values() -> None:
    plan = json.loads(PLAN.read_text())
    text = json.dumps(told(PLAN, "--exit-code", 2))
    values = {
        leaf for each in plan["resource_changes"] for side in ("before", "after") for leaf in leaves(each["change"][side])
    }
    assert any("very-secret-value" in value for value in values)
    # Addresses have keys such as "raw", which may be a value elsewhere.
    assert not [value for value in values if len(value) > 5 and value in text]


@pytest.mark.parametrize(("code", "outcome"), [(0, "clean"), (2, "drifted"), (1, "failed"), (137, "failed")])
def test_the_exit_code_of_the_plan_gives_the_outcome(code: int, outcome: str) -> None:
    message = told(PLAN, "--exit-code", code)
    assert message["outcome"] == outcome
    assert bool(message["changes"]) == (outcome == "drifted")


def test_a_failed_plan_is_reported_by_the_first_lines_of_its_errors(tmp_path: Path) -> None:
    (tmp_path / "plan.log").write_text(
        "\x1b[31m╷\x1b[0m\n\x1b[31m│\x1b[0m \x1b[1mError: Error acquiring the state lock\x1b[0m\n│ \n│   Lock Info: who@secret\n╵\n"
        "╷\n│ Error: Invalid value for variable\n│ \n│   on terraform.tfvars line 1:\n│    1: token = secret\n╵\n"
    )
    message = told(tmp_path / "none.json", "--exit-code", 1, "--log", tmp_path / "plan.log")
    assert message["errors"] == ["Error: Error acquiring the state lock", "Error: Invalid value for variable"]
    assert "secret" not in json.dumps(message)


@pytest.mark.parametrize("text", [None, "", "{not json", "[]"])
def test_an_unreadable_plan_is_not_clean(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "plan.json").write_text(text)
    for code in (0, 2):
        message = told(tmp_path / "plan.json", "--exit-code", code)
        assert (message["outcome"], message["errors"]) == ("failed", ["Error: the plan could not be read"])


def change(address: str, actions: list[str], before: Any = None, after: Any = None, **more: Any) -> dict[str, Any]:
    outer = {name: more.pop(name) for name in ("previous_address",) if name in more}
    return {"address": address, "change": {"actions": actions, "before": before, "after": after, **more}, **outer}


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (change("t.a", ["create"], None, {"name": "x"}), ("create", [])),
        (change("t.a", ["delete"], {"name": "x"}), ("delete", [])),
        (change("t.a", ["forget"], {"name": "x"}), ("forget", [])),
        (change("t.a", ["delete", "create"], {"name": "x", "n": 1}, {"name": "y", "n": 2}, replace_paths=[["name"]]), ("replace", ["name", "n"])),
        (change("t.a", ["create", "delete"], {"s": [{"k": 1}]}, {"s": [{"k": 2}]}, replace_paths=[["s", 0, "k"]]), ("replace", ["s[0].k"])),
        (change("t.a", ["no-op"], {"n": 1}, {"n": 1}, importing={"id": "x"}), ("import", [])),
        (change("t.a", ["no-op"], {"n": 1}, {"n": 1}, previous_address="t.b"), ("move", [])),
        (change("t.a", ["no-op"], {"n": 1}, {"n": 1}), None),
        (change("data.t.a", ["read"], None, {"n": 1}), None),
        (change("t.a", ["update"], {"n": 1}, {}, after_unknown={"etag": True}), ("update", ["n"])),
        (change("t.a", ["update"], {"n": 1, "etag": "a"}, {"n": 2}, after_unknown={"etag": True}), ("update", ["n"])),
        (change("t.a", ["update"], {"b": [{"k": 1}]}, {"b": [{"k": 1}, {"k": 2}]}), ("update", ["b"])),
        (change("t.a", ["update"], {"b": [{"k": 1, "u": 1}]}, {"b": [{"k": 2}]}, after_unknown={"b": [{"u": True}]}), ("update", ["b[0].k"])),
        (change("t.a", ["update"], {"labels": {}, "effective_labels": {}}, {"labels": {"a": "1"}, "effective_labels": {"a": "1"}}), ("update", ["labels.a"])),
        (change("t.a", ["update"], {"effective_labels": {"a": "2"}}, {"effective_labels": {"a": "1"}}), ("update", ["effective_labels.a"])),
    ],
)  # fmt: skip
def test_actions_have_the_names_of_terraform(resource: dict[str, Any], expected: tuple[str, list[str]] | None) -> None:
    found = [(each["action"], each["arguments"]) for each in DRIFT["changes"]({"resource_changes": [resource]})]
    assert found == ([] if expected is None else [expected])


def test_a_changed_output_is_drift_too() -> None:
    plan = {"output_changes": {"url": {"actions": ["update"]}, "name": {"actions": ["no-op"]}}}
    assert [each["address"] for each in DRIFT["changes"](plan)] == ["output.url"]


def test_any_amount_of_drift_fits_into_one_message() -> None:
    long = {f"argument_{n}_{'x' * 500}": n for n in range(100)}
    many = [change(f't.a["{n:05}{"y" * 400}"]', ["update"], long, {}) for n in range(2_000)]
    message = DRIFT["message"]({"resource_changes": many}, code=2, now=NOW)
    VALIDATOR.validate(message)
    assert len(json.dumps(message)) <= DRIFT["MAX_BYTES"]
    assert message["changes"] and message["omitted"] == 2_000 - len(message["changes"])
    assert {each["omitted"] for each in message["changes"]} == {80}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c-d"]), inner, max_size=3),
    max_leaves=12,
)


@given(VALUES, VALUES)
def test_a_path_is_named_exactly_when_two_values_differ(before: Any, after: Any) -> None:
    assert bool(list(DRIFT["differences"](without_nulls(before), without_nulls(after), None))) == (
        without_nulls(before) != without_nulls(after)
    )


def without_nulls(value: Any) -> Any:
    """A null argument counts as not set."""
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value
