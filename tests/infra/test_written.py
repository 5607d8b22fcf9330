"""The module's texts: descriptions, order, tables, exceptions. No plan is needed."""

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
from phasegate.app.pipeline_file import load

from tests.checks import EXAMPLES
from tests.emulators import missing
from tests.terraform import INFRA, REPO

GENERATE = runpy.run_path(str(REPO / "docs/generate.py"))
README = (INFRA / "README.md").read_text()
BLOCKS = {
    (folder.name, kind): list(GENERATE["blocks"](folder / f"{kind}s.tf", kind))
    for folder in (INFRA, INFRA / "bootstrap")
    for kind in ("variable", "output")
}
CHECKOV = REPO / ".venv-infra/bin/checkov"


@pytest.mark.parametrize("which", BLOCKS, ids="-".join)
def test_variables_and_outputs_are_described_and_in_order(which: tuple[str, str]) -> None:
    names = [name for name, _ in BLOCKS[which]]
    assert names
    assert names == sorted(names)
    for name, block in BLOCKS[which]:
        text = GENERATE["description"](block)
        assert text.endswith("."), f"{which[1]} {name}: expected a description that is a sentence, got {text!r}"


def test_every_field_of_an_object_is_described() -> None:
    for name, block in BLOCKS["infra", "variable"]:
        fields = re.findall(r"^    (\w+) += ", GENERATE["argument"](block, "type"), re.MULTILINE)
        assert fields == sorted(fields), name
        described = re.findall(r"<br>`(\w+)`", GENERATE["description"](block))
        assert described == fields, name


@pytest.mark.parametrize("folder", [INFRA, INFRA / "bootstrap"], ids=lambda folder: folder.name)
def test_every_variable_and_every_field_is_used(folder: Path) -> None:
    """An unused variable is a setting without effect."""
    text = "".join(file.read_text() for file in folder.glob("*.tf") if file.name != "variables.tf")
    for name, block in BLOCKS[folder.name, "variable"]:
        assert f"var.{name}" in text, name
        fields = re.findall(r"^    (\w+) += ", GENERATE["argument"](block, "type"), re.MULTILINE)
        loose = name == "repository"  # read as each.value by the triggers
        for field in fields:
            assert f"var.{name}.{field}" in text or (loose and f"each.value.{field}" in text), f"{name}.{field}"


def test_the_generated_tables_are_current() -> None:
    assert GENERATE["generated"](README, GENERATE["INFRA_PARTS"]) == README, "run `make docs`"


def test_every_named_file_exists_and_every_terraform_file_is_named() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert [link for link in links if not (INFRA / link).exists()] == []
    files = {file.name for file in INFRA.glob("*.tf")} - {"main.tf", "variables.tf", "outputs.tf", "versions.tf"}
    assert files <= set(links)


def test_every_named_make_target_exists() -> None:
    makefile = (REPO / "Makefile").read_text()
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    assert {"bootstrap", "plan", "deploy", "destroy"} <= named
    assert [target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


@pytest.mark.skipif(not shutil.which("terraform"), reason="terraform is missing")
def test_it_is_formatted() -> None:
    done = subprocess.run(["terraform", "fmt", "-check", "-recursive", INFRA], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


TABLES = (INFRA / "main.tf").read_text().partition("  tables = ")[2].partition("\n  datasets = ")[0]


def test_terraform_reads_every_key_under_which_a_check_names_another_table() -> None:
    """Or the functions get no access to that table, and its checks are never measured."""
    declared = {".".join(other.key) for check in EXAMPLES for other in check.other_tables()}
    read = set(re.findall(r"\bspec\.([\w.]+)", TABLES))
    assert read == declared, f"infra/main.tf, local.tables: expected the keys {declared} of checks, got {read}"


@pytest.mark.skipif(not shutil.which("terraform"), reason="terraform is missing")
def test_terraform_finds_the_tables_of_every_form_of_check(tmp_path: Path) -> None:
    """The locals alone, without providers: a file with every kind of check, and the tables that its checks read."""
    pipelines = tmp_path / "pipelines"
    pipelines.mkdir()
    shutil.copy(REPO / "tests/core/pipeline/data/flights_full.yaml", pipelines)
    text = (INFRA / "main.tf").read_text()
    others = set(re.findall(r"\bvar\.(\w+)", text)) - {"pipelines"}
    stubs = [f'variable "{name}" {{\n  default = null\n}}\n' for name in others]
    (tmp_path / "main.tf").write_text(text + f'variable "pipelines" {{\n  default = "{pipelines}"\n}}\n' + "".join(stubs))
    done = subprocess.run(
        ["terraform", "console"], cwd=tmp_path, input="jsonencode(local.tables)", capture_output=True, text=True, check=True
    )
    pipeline = load(pipelines / "flights_full.yaml")
    declared = [tables for phase in pipeline.phases.values() for tables in (phase.outputs, phase.needs)]
    checks = [check for tables in declared for table in tables.values() for check in table.checks]
    expected = {table for tables in declared for table in tables} | set(pipeline.date_columns)
    expected |= {other.table for check in checks for other in check.other_tables()}
    printed = done.stdout.splitlines()[-1]  # behind warnings about the configuration of the command
    assert set(json.loads(json.loads(printed))) == expected


def test_each_exception_from_checkov_has_a_reason() -> None:
    text = (INFRA / ".checkov.yaml").read_text()
    assert re.findall(r"^  - (\w+)$", text, re.MULTILINE) == [], "without a reason"
    for file in INFRA.rglob("*.tf"):
        for line in file.read_text().splitlines():
            assert "checkov:skip" not in line or re.search(r"#checkov:skip=\w+:.{30}", line), f"{file.name}: {line}"


def test_checkov_finds_only_what_was_planted(tmp_path: Path) -> None:
    """A public bucket shows that checkov works; each exception must still be needed."""
    if not CHECKOV.exists():
        missing("checkov", "make infra-tools")
    shutil.copytree(INFRA, tmp_path / "infra", ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars*"))
    (tmp_path / "infra/planted.tf").write_text(
        'resource "google_storage_bucket_iam_member" "planted" {\n  bucket = "b"\n  role   = "roles/storage.objectViewer"\n'
        '  member = "allUsers"\n}\n'
    )
    config = tmp_path / "infra/.checkov.yaml"
    excepted = set(re.findall(r"^  - (\w+) ", config.read_text(), re.MULTILINE))
    config.unlink()
    command = [CHECKOV, "--skip-download", "--framework", "terraform", "--output", "json", "--directory", "infra"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    results = json.loads(done.stdout)["results"]
    failed = {(each["check_id"], each["resource"]) for each in results["failed_checks"]}
    planted = {each for each in failed if each[1].endswith(".planted")}
    assert {check for check, _ in planted} == {"CKV_GCP_28"}
    assert {check for check, _ in failed - planted} == excepted
    written = set(re.findall(r"#checkov:skip=(\w+):", "".join(file.read_text() for file in INFRA.rglob("*.tf"))))
    assert {each["check_id"] for each in results["skipped_checks"]} == written
