"""The real terraform, over a copy of `infra/`, with stand-ins for its providers: nothing is created but a state file.

The stand-ins are the tool terraform-offline. It is looked for in `shared/tools/` beside this checkout, or beside any folder
that this checkout lies in; `TERRAFORM_OFFLINE` names another place.
"""

import fcntl
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.emulators import missing

REPO = Path(__file__).parents[1]
INFRA = REPO / "infra"
PIPELINES = REPO / "shared/pipelines"
DIGEST = "0123456789abcdef" * 4

VARIABLES: Mapping[str, Any] = {
    "project": "demo-project",
    "archive": {"bucket": "demo-project-phasegate-source", "digest": DIGEST},
}
"""What has no default."""


def tool() -> Path | None:
    """The folder of the stand-ins; None when it, or terraform, is not here."""
    folders = [Path(os.environ["TERRAFORM_OFFLINE"])] if "TERRAFORM_OFFLINE" in os.environ else []
    folders += [parent / "shared/tools/terraform-offline" for parent in REPO.parents]
    return next((folder for folder in folders if (folder / "setup.sh").is_file()), None) if shutil.which("terraform") else None


@cache
def environ() -> Mapping[str, str]:
    """The environment in which terraform finds the stand-ins; they are prepared when they are first needed.

    A test that needs them is skipped where they are missing, and fails where they are required.
    """
    folder = tool()
    if folder is None:
        missing("terraform with the tool terraform-offline", "put both in place, or set TERRAFORM_OFFLINE to its folder")
    with (Path(tempfile.gettempdir()) / "phasegate-terraform-offline.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of one run start at once, and would prepare it over each other
        done = subprocess.run([folder / "setup.sh"], check=True, capture_output=True, text=True)
    name, _, value = shlex.split(done.stdout)[1].partition("=")
    return {**os.environ, name: value, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}


@dataclass(frozen=True)
class Changes:
    """What a plan would do.

    Args:
        code: The exit code: 0 nothing, 2 something.
        shown: The plan as `terraform show -json` tells it.
    """

    code: int
    shown: Mapping[str, Any]

    @property
    def actions(self) -> Mapping[str, tuple[str, ...]]:
        """What happens to each resource that does not stay as it is, by its address."""
        return {
            change["address"]: tuple(change["change"]["actions"])
            for change in self.shown.get("resource_changes", ())
            if change["change"]["actions"] not in (["no-op"], ["read"])
        }


@dataclass(frozen=True)
class Module:
    """A root module in a folder of its own, with a local state.

    Args:
        root: Holds `infra` and, beside it, `shared`.
    """

    root: Path
    variables: Mapping[str, Any] = field(default_factory=lambda: VARIABLES)

    @classmethod
    def copy(cls, root: Path, *, pipelines: Path = PIPELINES, **variables: Any) -> "Module":
        """A copy of `infra/` with a folder of pipeline files, ready to plan."""
        module = cls(root, {**VARIABLES, "pipelines": str(pipelines), **variables})
        shutil.copytree(
            INFRA, module.folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars*", "__pycache__")
        )
        (root / "shared").symlink_to(REPO / "shared")
        (module.folder / "offline_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        module.run("init", "-input=false")
        return module

    def elsewhere(self, root: Path) -> "Module":
        """A copy of it and its state, to be changed."""
        shutil.copytree(self.root, root, symlinks=True)
        return Module(root, self.variables)

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.root / "infra"

    def having(self, **variables: Any) -> "Module":
        """The same module and state, with other values."""
        return Module(self.root, {**self.variables, **variables})

    def run(
        self, *arguments: str, codes: tuple[int, ...] = (0,), drift: Mapping[str, Any] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """One command of terraform.

        Args:
            codes: Exit codes that are expected; another one fails the test with what was printed.
            drift: What somebody has changed behind Terraform's back, see terraform-offline.
        """
        given = {
            f"TF_VAR_{name}": value if isinstance(value, str) else json.dumps(value) for name, value in self.variables.items()
        }
        moved = {}
        if drift is not None:
            overrides = self.root / "overrides.json"
            overrides.write_text(json.dumps(drift))
            moved = {"TF_OFFLINE_OVERRIDES": str(overrides)}
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder,
            env={**environ(), **given, **moved},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in codes:
            pytest.fail(f"terraform {' '.join(arguments)}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done

    def resources(self, kind: str) -> Mapping[str, Mapping[str, Any]]:
        """What was applied of one type: values by what stands behind the type in the address."""
        found = self._found()
        return {address.removeprefix(f"{kind}."): values for address, values in found.items() if address.startswith(f"{kind}.")}

    def kinds(self) -> set[str]:
        """The types of what was applied."""
        return {address.split(".")[0] for address in self._found()}

    def _found(self) -> Mapping[str, Mapping[str, Any]]:
        return _applied(self.folder, (self.folder / "terraform.tfstate").stat().st_mtime_ns)

    def apply(self) -> None:
        """Make it so."""
        self.run("apply", "-auto-approve", "-input=false", "-no-color")

    def plan(self, drift: Mapping[str, Any] | None = None) -> Changes:
        """What an apply would change now."""
        done = self.run(
            "plan", "-detailed-exitcode", "-input=false", "-lock=false", "-no-color", "-out=plan", codes=(0, 2), drift=drift
        )
        return Changes(done.returncode, json.loads(self.run("show", "-json", "plan").stdout))


@cache
def _applied(folder: Path, written: int) -> Mapping[str, Mapping[str, Any]]:  # noqa: ARG001 - a state written later is read anew
    """The values of every resource of a state, by address."""
    done = subprocess.run(["terraform", "show", "-json"], cwd=folder, env=environ(), capture_output=True, text=True, check=True)
    return {each["address"]: each["values"] for each in json.loads(done.stdout)["values"]["root_module"]["resources"]}
