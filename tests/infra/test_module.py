"""The module: its plan for pipeline files, an empty second plan, and the effect of changes."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml
from phasegate.adapters.state import firestore
from phasegate.app.pipeline_file import load_all
from phasegate.app.settings import Settings
from phasegate.messaging.bodies import complete_topic, go_topic

from tests.infra.conftest import PHASES, TABLES
from tests.terraform import DIGEST, PIPELINES, REPO, Module


@pytest.mark.parametrize("name", ["demo", "large"])
def test_the_plan_after_an_apply_is_empty(name: str, request: pytest.FixtureRequest) -> None:
    module: Module = request.getfixturevalue(name)
    changes = module.plan()
    assert (changes.code, dict(changes.actions)) == (0, {})


def test_the_large_pipeline_is_valid_for_the_code(large_pipelines: Path) -> None:
    (pipeline,) = load_all(large_pipelines)
    tables = [table for phase in pipeline.phases.values() for table in phase.outputs]
    assert (len(pipeline.phases), len(tables)) == (PHASES, TABLES)


@pytest.mark.parametrize("name", ["demo", "large"])
def test_every_phase_has_the_topics_of_the_code(name: str, request: pytest.FixtureRequest) -> None:
    module: Module = request.getfixturevalue(name)
    prefix = module.variables.get("prefix", "phasegate")
    topics = {values["name"] for values in module.resources("google_pubsub_topic").values()}
    existing = module.variables.get("existing_topics", {})
    for pipeline in load_all(Path(module.variables["pipelines"])):
        for phase in pipeline.phases:
            assert f"{prefix}-{go_topic(pipeline.name, phase)}" in topics
            made = f"{prefix}-{complete_topic(pipeline.name, phase)}" in topics
            assert made is (f"{pipeline.name}/{phase}" not in existing)


@pytest.mark.parametrize("name", ["demo", "large"])
def test_no_subscription_has_the_platforms_bad_defaults(name: str, request: pytest.FixtureRequest) -> None:
    module: Module = request.getfixturevalue(name)
    found = module.resources("google_pubsub_subscription")
    assert len(found) >= 9
    listened = {values["topic"] for values in found.values()}
    giving_up = module.resources("google_pubsub_subscription_iam_binding")
    publishers = {values["topic"]: values["members"] for values in module.resources("google_pubsub_topic_iam_binding").values()}
    for address, values in found.items():
        assert values["ack_deadline_seconds"] == 600, address
        assert values["expiration_policy"] == [{"ttl": ""}], address
        assert values["retry_policy"] == [{"minimum_backoff": "10s", "maximum_backoff": "600s"}], address
        for push in values["push_config"]:
            assert push["oidc_token"][0]["audience"] == push["push_endpoint"] != "", address
        if address.startswith("dead["):
            assert values["dead_letter_policy"] == [], "there is no further dead-letter topic"
            continue
        (policy,) = values["dead_letter_policy"]
        assert policy["max_delivery_attempts"] >= 20, address
        assert policy["dead_letter_topic"] in listened, f"{address}: its dead letters are lost"
        agent = publishers[policy["dead_letter_topic"]]
        assert [member for member in agent if "gcp-sa-pubsub" in member], f"{address}: Pub/Sub may not publish dead letters"
        (grant,) = [each for each in giving_up.values() if each["subscription"].endswith(f"/{values['name']}")]
        assert (grant["role"], grant["members"]) == ("roles/pubsub.subscriber", agent)


def test_every_function_times_out_before_the_ack_deadline(demo: Module) -> None:
    timeouts = {
        name: each["service_config"][0]["timeout_seconds"]
        for name, each in demo.resources("google_cloudfunctions2_function").items()
    }
    assert timeouts
    assert max(timeouts.values()) <= 540


def test_there_is_a_function_for_each_folder(demo: Module) -> None:
    """Entry points have the names of their folders, and all are in one archive."""
    folders = {path.parent.name for path in (REPO / "functions").glob("*/main.py")}
    functions = demo.resources("google_cloudfunctions2_function")
    declared = {values["build_config"][0]["entry_point"] for values in functions.values()}
    assert not folders - declared, f"infra/functions.tf has no entry for {', '.join(sorted(folders - declared))}"
    assert not declared - folders, f"functions/ has no folder with a main.py for {', '.join(sorted(declared - folders))}"
    for values in functions.values():
        (build,) = values["build_config"]
        assert build["environment_variables"] == {"GOOGLE_FUNCTION_SOURCE": f"functions/{build['entry_point']}/main.py"}
        assert build["source"][0]["storage_source"][0]["object"] == f"source/{DIGEST}.zip"
        assert values["labels"]["digest"] == DIGEST[:16]


def test_the_settings_of_the_functions_are_valid(demo: Module) -> None:
    """Read by the code; none is unknown to it."""
    (environment, *others) = [
        values["service_config"][0]["environment_variables"]
        for values in demo.resources("google_cloudfunctions2_function").values()
    ]
    assert all(each == environment for each in others)
    assert environment["PHASEGATE_DIGEST"] == DIGEST
    settings = Settings.resolve({}, environment, REPO)
    settings.require("pipelines", "warehouse", "state", "bus")
    assert str(settings.bus) == "pubsub:demo-project/phasegate"
    assert str(settings.secrets) == "secretmanager:demo-project"
    assert settings.pipelines == PIPELINES
    known = {f"PHASEGATE_{setting.name.upper()}" for setting in settings.entries} | {"PHASEGATE_DIGEST"}
    assert environment.keys() <= known


def test_firestore_has_the_indexes_and_lifetimes_that_the_code_needs(demo: Module) -> None:
    declared = Counter(
        (values["collection"], *((field["field_path"], field["order"]) for field in values["fields"]))
        for values in demo.resources("google_firestore_index").values()
    )
    needed = Counter((name, *fields, ("__name__", fields[-1][1])) for name, *fields in firestore.INDEXES)
    assert declared == needed

    table = [line for line in (firestore.__doc__ or "").splitlines() if line.startswith("|")]
    collections, expiring, current = set[str](), set[str](), ""
    for _, document, _, fields, _, _ in (line.split("|") for line in table[2:]):
        current = document.split("{id}")[-2].strip(" `/") if "{id}" in document else current
        collections.add(current)
        expiring |= {current} if "expires_at" in fields else set()
    fields_of = demo.resources("google_firestore_field").values()
    unindexed = {
        values["collection"] for values in fields_of if values["field"] == "*" and values["index_config"] == [{"indexes": []}]
    }
    timed = {values["collection"] for values in fields_of if values["field"] == "expires_at" and values["ttl_config"]}
    assert unindexed == collections
    assert timed == expiring


def test_the_history_is_the_table_of_the_code(demo: Module) -> None:
    (table,) = demo.resources("google_bigquery_table").values()
    written = json.loads((REPO / "shared/phasegate/schemas/history.bigquery.json").read_text())
    assert json.loads(table["schema"]) == written["columns"]
    assert table["clustering"] == written["clustering"]
    assert table["time_partitioning"][0]["field"] == written["partition"]["field"]
    assert table["deletion_protection"] is True


def test_secrets_are_those_of_the_pipeline_files_without_values(large: Module) -> None:
    assert {values["secret_id"] for values in large.resources("google_secret_manager_secret").values()} == {
        "chat-webhook",
        "hook",
        "hook-key",
    }
    assert not large.resources("google_secret_manager_secret_version")


def test_tables_that_only_checks_name_are_readable(demo: Module) -> None:
    granted = {values["dataset_id"] for values in demo.resources("google_bigquery_dataset_iam_member").values()}
    assert granted == {"raw", "clean", "features", "predictions"}


def with_phase(folder: Path, name: str) -> Path:
    """The demo's pipeline files with one more phase."""
    shutil.copytree(PIPELINES, folder)
    file = folder / "flights.yaml"
    told = yaml.safe_load(file.read_text())
    told["phases"][name] = {"after": ["raw"], "retry": {"attempts": 2}, "outputs": {"clean.more": {"date": "flight_date"}}}
    file.write_text(yaml.safe_dump(told, sort_keys=False))
    return folder


def test_a_new_phase_adds_its_own_resources_and_changes_no_others(demo: Module, tmp_path: Path) -> None:
    more = demo.having(pipelines=str(with_phase(tmp_path / "more", "extra")))
    actions = more.plan().actions
    assert actions
    assert set(actions.values()) == {("create",)}
    assert all('["flights-extra-' in address for address in actions), sorted(actions)
    assert Counter(address.split(".")[0] for address in actions) == {
        "google_pubsub_topic": 4,  # complete, go, retry, dead
        "google_pubsub_topic_iam_binding": 3,
        "google_pubsub_subscription": 2,
        "google_pubsub_subscription_iam_binding": 1,
    }


def test_needed_tables_are_readable(demo: Module, tmp_path: Path) -> None:
    """And the tables that their checks compare with."""
    file = with_phase(tmp_path / "needy", "extra") / "flights.yaml"
    told = yaml.safe_load(file.read_text())
    check = {"references": {"columns": ["code"], "table": "codes.all"}}
    told["phases"]["extra"]["needs"] = {"rates.daily": {"date": "rate_date", "checks": [check]}}
    file.write_text(yaml.safe_dump(told, sort_keys=False))
    actions = demo.having(pipelines=str(file.parent)).plan().actions
    granted = [address for address in actions if address.startswith("google_bigquery_dataset_iam_member")]
    assert all(any(dataset in address for address in granted) for dataset in ("rates", "codes")), granted


def test_a_removed_phase_removes_only_its_own_resources(demo: Module, tmp_path: Path) -> None:
    folder = tmp_path / "fewer"
    shutil.copytree(PIPELINES, folder)
    told = yaml.safe_load((folder / "flights.yaml").read_text())
    del told["phases"]["features"]
    (folder / "flights.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
    actions = dict(demo.having(pipelines=str(folder)).plan().actions)
    readers = {
        address: action for address, action in actions.items() if address.startswith("google_bigquery_dataset_iam_member")
    }
    assert all('["features ' in address for address in readers)
    assert set(actions.values()) == {("delete",)}
    assert all('["flights-features-' in address for address in actions.keys() - readers.keys())


def test_another_archive_changes_only_the_functions(demo: Module) -> None:
    again = demo.having(archive={**demo.variables["archive"], "digest": "f" * 64})
    actions = again.plan().actions
    assert set(actions.values()) == {("update",)}
    assert {address.split(".")[0] for address in actions} == {"google_cloudfunctions2_function"}


def test_a_plain_destroy_is_refused(demo: Module, tmp_path: Path) -> None:
    """The protection of the data stops a manual `terraform destroy`; `make destroy` is different."""
    copy = demo.elsewhere(tmp_path / "copy")
    done = copy.run("destroy", "-auto-approve", "-no-color", codes=(1,))
    assert "Cannot destroy google_firestore_database" in done.stderr
    assert "Cannot destroy google_bigquery_table" in done.stderr
    assert {"google_firestore_database.state", "google_bigquery_table.history"} <= set(copy.run("state", "list").stdout.split())


def test_its_own_tests_pass(tmp_path: Path) -> None:
    """`terraform test`: what the module declares for its variables, and which values it refuses."""
    done = Module.copy(tmp_path).run("test", "-no-color")
    assert "0 failed" in done.stdout
