"""Grants: those of a plan are the tables in infra/README.md, and no function may write to a whole project."""

import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.terraform import INFRA, Module

README = (INFRA / "README.md").read_text()
FUNCTIONS = {"acknowledge", "alert-dispatch", "dead-letter", "deploy-watch", "phase-monitor", "preflight", "watch"}
AGENTS = {"gcp-sa-pubsub": "Pub/Sub's agent", "gcp-sa-cloudscheduler": "Cloud Scheduler's agent"}
MUCH = re.compile(r"roles/(owner|editor|.*(admin|owner|editor|developer))$", re.IGNORECASE)
"""Roles that can change resources of a project."""


def documented() -> set[tuple[str, str, str]]:
    """Account, role and whether it is on the project, for each row; a cell may list several accounts."""
    section = README.split("## Who may do what")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]
    found = set()
    for accounts, role, where, why in (row for row in rows if row[0] != "account" and not row[0].startswith("-")):
        assert why
        names = (
            re.findall(r"`([^`]+)`", accounts) if not accounts.startswith("of ") else [accounts.removeprefix("of ").strip("`")]
        )
        for account in names or [accounts]:
            for place in where.split("; "):
                found.add((account, role.strip("`"), "project" if place.startswith("project") else "resource"))
    return found


def role(name: str, prefix: str) -> str:
    stem = prefix.replace("-", "_")
    return re.sub(rf"^projects/[^/]+/roles/{stem}_", "<prefix>_", name).removeprefix("roles/")


def account(member: str, prefix: str, outside: Mapping[str, str]) -> str:
    if member in outside:
        return outside[member]
    name, _, domain = member.removeprefix("serviceAccount:").partition("@")
    agent = domain.split(".")[0]
    return AGENTS.get(agent) or name.removeprefix(f"{prefix}-")


def grants(module: Module) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every grant of an applied module: the kind of resource, the member, and the rest."""
    for kind in {kind for kind in module.kinds() if "_iam_" in kind and "custom_role" not in kind}:
        for values in module.resources(kind).values():
            for member in values.get("members") or [values["member"]]:
                yield kind, member, values


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Module:
    """The resources of `make bootstrap`, applied."""
    root = tmp_path_factory.mktemp("bootstrap")
    shutil.copytree(
        INFRA / "bootstrap",
        root / "infra",
        ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars*", "backend.tf"),
    )
    module = Module(root, {"project": "demo-project", "prefix": "gates"})
    module.run("init", "-input=false")
    module.run("validate")
    module.apply()
    assert module.plan().code == 0
    return module


def test_the_tables_list_the_grants_of_a_plan(large: Module, bootstrap: Module) -> None:
    """For an installation with every option."""
    access = large.variables["access"]
    outside = {member: "access.consumers" for members in access["consumers"].values() for member in members}
    outside |= dict.fromkeys(access["acknowledge"], "access.acknowledge")
    granted = set()
    for kind, member, values in [*grants(large), *grants(bootstrap)]:
        where = "project" if kind.startswith("google_project_iam") else "resource"
        names = [account(member, "gates", outside)]
        if member in access["preflight"]:
            names = ["access.preflight" if "run" in kind else "access.publishers"]
        granted |= {(name, role(values["role"], "gates"), where) for name in names}
    assert granted == documented()


def test_no_function_may_change_a_project(large: Module) -> None:
    on_project = [
        (account(member, "gates", {}), values)
        for kind, member, values in grants(large)
        if kind.startswith("google_project_iam")
    ]
    assert {name for name, _ in on_project} == FUNCTIONS | {"build"}
    for name, values in on_project:
        assert not MUCH.match(values["role"]), f"{name}: {values['role']}"
        if values["role"] == "roles/datastore.user":
            assert values["condition"][0]["expression"] == 'resource.name == "projects/demo-project/databases/gates"', name


def test_the_drift_check_can_only_read(bootstrap: Module) -> None:
    held = {values["role"] for _, member, values in grants(bootstrap) if member.startswith("serviceAccount:gates-check@")}
    assert held == {"roles/iam.securityReviewer", "roles/logging.logWriter", "roles/storage.objectViewer", "roles/viewer"}


def test_the_deploying_account_has_no_basic_role_and_cannot_extend_its_roles(bootstrap: Module) -> None:
    held = [
        (values["role"], values) for _, member, values in grants(bootstrap) if member.startswith("serviceAccount:gates-deploy@")
    ]
    assert not {name for name, _ in held} & {"roles/owner", "roles/editor", "roles/iam.securityAdmin", "roles/iam.roleAdmin"}
    (condition,) = [
        values["condition"][0]["expression"] for name, values in held if name == "roles/resourcemanager.projectIamAdmin"
    ]
    allowed = re.findall(r'"([^"]+/[^"]+)"', condition)
    assert allowed
    assert not [name for name in allowed if MUCH.match(name)]


def test_the_deploying_account_may_grant_exactly_the_roles_of_the_module(large: Module, bootstrap: Module) -> None:
    """With fewer the first deployment would fail; more would be a risk."""
    (condition,) = [
        values["condition"][0]["expression"]
        for _, _, values in grants(bootstrap)
        if values["role"] == "roles/resourcemanager.projectIamAdmin"
    ]
    granted = {values["role"] for kind, _, values in grants(large) if kind.startswith("google_project_iam")}
    assert set(re.findall(r'"([^"]+/[^"]+)"', condition)) == granted


@pytest.mark.parametrize("name", ["demo", "large"])
def test_nothing_is_public(name: str, request: pytest.FixtureRequest) -> None:
    members = {member for _, member, _ in grants(request.getfixturevalue(name))}
    assert members
    assert not members & {"allUsers", "allAuthenticatedUsers"}


def test_the_doctors_role_has_only_read_permissions(bootstrap: Module) -> None:
    (doctor,) = [values for name, values in bootstrap.resources("google_project_iam_custom_role").items() if name == "doctor"]
    assert doctor["permissions"]
    assert all(re.search(r"\.(get|list|getIamPolicy)$", each) for each in doctor["permissions"])
    assert "secretmanager.versions.access" not in doctor["permissions"]
