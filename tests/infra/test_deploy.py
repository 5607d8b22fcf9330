"""The steps of cloudbuild.yaml and cloudbuild-drift.yaml, run unchanged, with the real terraform and a gcloud on folders."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.terraform import REPO, environ

ELSEWHERE = {"install", "check", "test", "contracts"}
"""Steps that run the checks and tests themselves."""

SHIM = """#!/bin/sh
# The real terraform, with its state in a file.
if [ -n "${{FAIL_APPLY:-}}" ] && [ "$1" = apply ] && [ ! -e "$FAIL_APPLY" ]; then touch "$FAIL_APPLY"; echo "not yet" >&2; exit 1; fi
for argument in "$@"; do
    shift
    case $argument in -backend-config=*) ;; *) set -- "$@" "$argument" ;; esac
done
exec {terraform} "$@"
"""


@dataclass(frozen=True)
class Checkout:
    """A checkout on a machine with terraform and gcloud."""

    root: Path

    @property
    def cloud(self) -> Path:
        return self.root / "cloud"

    @property
    def bucket(self) -> Path:
        return self.cloud / "demo-project-phasegate-state"

    def messages(self) -> list[Any]:
        """The messages on the drift topic."""
        return [
            json.loads(line) for line in (self.cloud / "projects_demo-project_topics_phasegate-drift").read_text().splitlines()
        ]

    def run(self, *command: str, code: int = 0, **given: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **environ(),
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "FAKE_CLOUD": str(self.cloud),
            "PAUSE": "0",
            "TF_CLI_ARGS_apply": "-auto-approve -no-color",
            "TF_CLI_ARGS_destroy": "-auto-approve -no-color",
            **given,
        }
        done = subprocess.run(command, cwd=self.root / "checkout", env=environment, capture_output=True, text=True, check=False)
        if done.returncode != code:
            pytest.fail(f"{' '.join(command)}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-4000:]}")
        return done

    def steps(self, *steps: str, code: int = 0, **given: str) -> subprocess.CompletedProcess[str]:
        """Steps of infra/deploy.sh, as `make` runs them."""
        return self.run("infra/deploy.sh", *steps, code=code, PROJECT="demo-project", **given)

    def build(self, file: str, **given: str) -> None:
        """A build of Cloud Build: the script of every step in order, with the variables that Cloud Build sets."""
        told = yaml.safe_load((REPO / file).read_text())
        variables = {**told["substitutions"], "PROJECT_ID": "demo-project", "COMMIT_SHA": "4f2a", "BUILD_ID": "b-1", **given}
        for step in told["steps"]:
            if step["id"] not in ELSEWHERE:
                script = self.root / "step"
                script.write_text(step["script"])
                interpreter = ["bash"] if step["script"].startswith("#!/usr/bin/env bash") else ["sh", "-e"]
                self.run(*interpreter, str(script), **variables)


def made(folder: Path) -> Checkout:
    """A checkout and an empty cloud, after `make bootstrap`."""
    root = folder / "checkout"
    shutil.copytree(
        REPO / "infra", root / "infra", ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.auto.tfvars*")
    )
    shutil.copytree(REPO / "functions", root / "functions")
    shutil.copytree(REPO / "shared", root / "shared", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO / "constraints.txt", root)
    checkout = Checkout(folder)
    (checkout.bucket / "bootstrap").mkdir(parents=True)
    for emulator in ("pubsub-emulator", "cloud-firestore-emulator"):
        (checkout.cloud / "sdk/platform" / emulator).mkdir(parents=True)
    doctor = root / ".venv/bin/phasegate"
    doctor.parent.mkdir(parents=True)
    doctor.write_text('#!/bin/sh\necho "$* $PHASEGATE_STATE $PHASEGATE_PIPELINES" >../doctor\nexit "${DOCTOR:-0}"\n')
    doctor.chmod(0o755)
    state = folder / "module.tfstate"
    (root / "infra/offline_override.tf").write_text(f'terraform {{\n  backend "local" {{\n    path = "{state}"\n  }}\n}}\n')
    tools = folder / "bin"
    tools.mkdir()
    (tools / "gcloud").write_text(f'#!/bin/sh\nexec {sys.executable} {REPO / "tests/infra/fake_gcloud.py"} "$@"\n')
    (tools / "terraform").write_text(SHIM.format(terraform=shutil.which("terraform")))
    for each in tools.iterdir():
        each.chmod(0o755)
    environ()
    return checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout before its first deployment."""
    return made(tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout that Cloud Build has deployed, and a copy of it; it has absolute paths, so the copy can only be moved back."""
    checkout = made(tmp_path_factory.mktemp("built") / "machine")
    checkout.build("cloudbuild.yaml")
    shutil.copytree(checkout.root, checkout.root.with_name("copy"), symlinks=True)
    return checkout


@pytest.fixture
def deployed(built: Checkout) -> Checkout:
    """The same, in its state after the deployment."""
    shutil.rmtree(built.root)
    shutil.copytree(built.root.with_name("copy"), built.root, symlinks=True)
    return built


def overridden(folder: Path, drift: Mapping[str, Any]) -> dict[str, str]:
    """The setting that makes the fake platform differ."""
    file = folder / "overrides.json"
    file.write_text(json.dumps(drift))
    return {"TF_OFFLINE_OVERRIDES": str(file)}


def change_something(checkout: Checkout) -> None:
    """A commit that is not deployed yet."""
    pubsub = checkout.root / "checkout/infra/pubsub.tf"
    text = pubsub.read_text()
    assert "ack_seconds = 600" in text
    pubsub.write_text(text.replace("ack_seconds = 600", "ack_seconds = 599"))


def test_the_plan_after_a_deployment_is_empty(deployed: Checkout) -> None:
    (archive,) = (deployed.cloud / "demo-project-phasegate-source/source").iterdir()
    written = json.loads((deployed.root / "checkout/.phasegate/deploy/settings.json").read_text())
    assert f"{written['PHASEGATE_DIGEST']}.zip" == archive.name
    assert {"applied.tar.gz", "terraform.lock.hcl"} <= {each.name for each in deployed.bucket.iterdir()}
    assert (deployed.root / "checkout/.emulators/pubsub-emulator").is_dir()
    asked = (deployed.root / "checkout/doctor").read_text()
    assert asked == f"doctor --wait 10m firestore:demo-project/phasegate {deployed.root / 'checkout/shared/pipelines'}\n"


def test_a_deployment_fails_when_its_doctor_fails(deployed: Checkout) -> None:
    deployed.steps("doctor", code=1, DOCTOR="1")


def test_every_drift_check_publishes_its_result(deployed: Checkout) -> None:
    # Later commits of the branch do not count, only what was deployed.
    change_something(deployed)
    deployed.build("cloudbuild-drift.yaml")
    assert [each["outcome"] for each in deployed.messages()] == ["clean"]
    assert (deployed.messages()[0]["commit"], deployed.messages()[0]["build"]) == ("4f2a", "b-1")

    paused = {"google_cloud_scheduler_job": {"*": {"paused": True}}}
    deployed.build("cloudbuild-drift.yaml", **overridden(deployed.root, paused))
    (change,) = deployed.messages()[-1]["changes"]
    assert (change["address"], change["arguments"]) == ('google_cloud_scheduler_job.this["tick"]', ["paused"])
    deployed.steps("settle", code=2, **overridden(deployed.root, paused))

    # Another version of a provider stops the plan, which is reported, too.
    (deployed.root / "unpacked").mkdir()
    deployed.run("tar", "-xzf", str(deployed.bucket / "applied.tar.gz"), "-C", str(deployed.root / "unpacked"))
    lock = deployed.root / "unpacked/infra/.terraform.lock.hcl"
    lock.write_text(lock.read_text().replace("h1:", "h1:x"))
    names = sorted(each.name for each in (deployed.root / "unpacked").iterdir())
    deployed.run("tar", "-czf", str(deployed.bucket / "applied.tar.gz"), "-C", str(deployed.root / "unpacked"), *names)
    deployed.build("cloudbuild-drift.yaml")
    assert (deployed.messages()[-1]["outcome"], deployed.messages()[-1]["errors"]) == (
        "failed",
        ["Error: Failed to install provider"],
    )


def test_an_apply_that_fails_is_retried_once(deployed: Checkout) -> None:
    change_something(deployed)
    done = deployed.steps("archive", "upload", "plan", "apply", "settle", FAIL_APPLY=str(deployed.root / "failed"))
    assert "retrying in" in done.stderr
    assert (deployed.root / "failed").exists()


def state_of(checkout: Checkout) -> set[str]:
    """Addresses in Terraform's state."""
    told = json.loads((checkout.root / "module.tfstate").read_text())
    return {f"{each['type']}.{each['name']}" for each in told["resources"]}


def test_destroy_keeps_the_data_and_a_later_deployment_takes_it_over(deployed: Checkout) -> None:
    done = deployed.steps("archive", "destroy")
    assert state_of(deployed) == set()
    for kept in ("google_firestore_database.state", "google_bigquery_dataset.history", "google_bigquery_table.history"):
        assert f"Removed {kept}" in done.stdout
        assert f"{kept}: Destroying" not in done.stdout
    assert "google_pubsub_topic.this" in done.stdout

    done = deployed.steps("archive", "upload", "plan", "apply", TF_VAR_adopt_data="true")
    assert "3 imported" in done.stdout
    deployed.steps("settle", TF_VAR_adopt_data="true")
    deployed.steps("settle")


def test_destroy_deletes_the_data_with_data_delete(deployed: Checkout) -> None:
    done = deployed.steps("archive", "destroy", DATA="delete")
    assert state_of(deployed) == set()
    assert "google_firestore_database.state: Destroying" in done.stdout
    assert "google_bigquery_table.history: Destroying" in done.stdout


def test_secrets_can_be_created_before_everything_else(checkout: Checkout) -> None:
    """A function that sends alerts does not start without their values."""
    file = checkout.root / "checkout/shared/pipelines/flights.yaml"
    text = file.read_text()
    assert "destinations:\n" in text
    file.write_text(
        text.replace("destinations:\n", "destinations:\n    chat: {kind: google_chat, webhook: secret://chat-webhook}\n", 1)
    )
    done = checkout.steps("archive", "upload", "secrets")
    assert 'google_secret_manager_secret.this["chat-webhook"]' in done.stdout
    assert "google_secret_manager_secret.this" in state_of(checkout)
    assert not {address for address in state_of(checkout) if "function" in address or "topic" in address}


def test_without_a_project_nothing_happens(checkout: Checkout) -> None:
    done = checkout.run("infra/deploy.sh", "archive", "destroy", code=2)
    assert "PROJECT=my-project" in done.stderr
