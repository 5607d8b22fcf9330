"""cloudbuild.yaml and cloudbuild-drift.yaml as Cloud Build reads them."""

import re
import subprocess
from itertools import pairwise
from typing import Any

import pytest
import yaml
from google.cloud.devtools.cloudbuild_v1 import Build
from google.protobuf.json_format import ParseDict, ParseError

from tests.terraform import INFRA, REPO, Module

FILES = ("cloudbuild.yaml", "cloudbuild-drift.yaml")
ORDER = ("archive", "upload", "plan", "apply", "record", "settle")
README = (INFRA / "README.md").read_text()


def parsed(file: str) -> Any:
    return yaml.safe_load((REPO / file).read_text())


@pytest.mark.parametrize("file", FILES)
def test_it_is_a_valid_build_of_the_api(file: str) -> None:
    """Read with the API's own types, which refuse unknown fields."""
    build = Build()
    ParseDict(parsed(file), Build.pb(build))
    assert build.timeout.total_seconds() > 0
    assert build.options.automap_substitutions
    assert [step.id for step in build.steps] == [step["id"] for step in parsed(file)["steps"]]


@pytest.mark.parametrize(
    "mistake", [{"stepz": []}, {"timeout": "1h"}, {"options": {"logging": "NONSENSE"}}, {"steps": [{"waitfor": ["x"]}]}]
)
def test_a_mistake_in_a_file_would_be_found(mistake: dict[str, Any]) -> None:
    with pytest.raises(ParseError):
        ParseDict({**parsed(FILES[0]), **mistake}, Build.pb(Build()))


@pytest.mark.parametrize("file", FILES)
def test_steps_are_pinned_and_wait_only_for_earlier_ones(file: str) -> None:
    before: set[str] = {"-"}
    for step in parsed(file)["steps"]:
        assert re.search(r":\d+\.\d+\.\d+[\w.-]*$|@sha256:[0-9a-f]{64}$", step["name"]), (
            f"{step['id']}: {step['name']} is not exact"
        )
        assert set(step.get("waitFor", [])) <= before, step["id"]
        before.add(step["id"])


def test_the_steps_use_the_tested_version_of_terraform() -> None:
    images = {step["name"] for file in FILES for step in parsed(file)["steps"] if "terraform" in step["name"]}
    assert images == {"hashicorp/terraform:1.11.4"}


def test_checks_tests_and_contracts_run_in_parallel_before_the_archive() -> None:
    steps = {step["id"]: set(step.get("waitFor", [])) for step in parsed("cloudbuild.yaml")["steps"]}
    assert {"check", "test", "contracts"} == steps["archive"]
    assert not any(steps[each] & {"check", "test", "contracts"} for each in ("check", "test", "contracts"))
    assert all(earlier in steps[later] or later == "settle" for earlier, later in pairwise(ORDER))
    assert steps["settle"] == steps["verify"] == {"record"}


@pytest.mark.parametrize("file", FILES)
def test_substitutions_are_documented_used_and_set_by_the_trigger(file: str, demo: Module) -> None:
    text = (REPO / file).read_text()
    names = set(parsed(file)["substitutions"])
    for name in names:
        assert re.search(rf"^  {name}: .*  # \w", text, re.MULTILINE), f"{name} has no comment"
        assert f"| `{name}` |" in README
        assert f"${name}" in text.split("steps:")[1]
    assert set(re.findall(r"\$(_\w+)", text)) == names
    (trigger,) = [
        values
        for name, values in demo.resources("google_cloudbuild_trigger").items()
        if file in (values["filename"], *(source["path"] for source in values["git_file_source"]))
    ]
    assert set(trigger["substitutions"]) == names


@pytest.mark.parametrize("file", FILES)
def test_the_commands_of_each_step_exist(file: str) -> None:
    functions = set(re.findall(r"^(\w+)\(\) \{", (INFRA / "deploy.sh").read_text(), re.MULTILINE))
    for step in parsed(file)["steps"]:
        for name in re.findall(r"infra/deploy\.sh (\w+)", step["script"]):
            assert name in functions, step["id"]
        for targets in re.findall(r"^make (.+)$", step["script"], re.MULTILINE):
            done = subprocess.run(
                ["make", "--dry-run", *targets.split()], cwd=REPO, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{step['id']}: {done.stderr}"
