"""Who may import whom, and what a cold start loads."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"
ROOT = SHARED / "phasegate"
MODULES = sorted(ROOT.rglob("*.py"))

CLIENTS = {"google", "duckdb", "sqlglot", "sqlite3", "requests", "httpx", "grpc"}
# The demo's loaders stand for the watched pipeline: they fill the warehouse that everything else only reads.
LOADERS = {"phasegate.demo.warehouse", "phasegate.demo.story"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SHARED).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, *, top_only: bool = False) -> Iterator[str]:
    """Modules that a module imports; with *top_only*, those that its own import loads."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body.clear()
    nodes = tree.body if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", sorted((ROOT / "core").glob("*.py")), ids=name_of)
def test_core_imports_the_standard_library_itself_and_errors_only(path: Path) -> None:
    for module in imports(path):
        top = module.partition(".")[0]
        allowed = top in sys.stdlib_module_names or module.startswith("phasegate.core") or module == "phasegate.errors"
        assert allowed, f"{name_of(path)} imports {module}"
    assert not {"os", "logging", "sqlite3", "time"} & set(imports(path)), "no environment, no log, no clock"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_adapters_are_imported_by_wiring_and_by_each_other_only(path: Path) -> None:
    importer = name_of(path)
    if importer == "phasegate.wiring" or importer.startswith("phasegate.adapters"):
        return
    assert not [module for module in imports(path) if module.startswith("phasegate.adapters")]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_client_libraries_are_imported_in_adapters_only(path: Path) -> None:
    importer = name_of(path)
    if importer.startswith("phasegate.adapters") or importer in LOADERS:
        return
    assert not {module.partition(".")[0] for module in imports(path)} & CLIENTS


def test_wiring_imports_adapters_inside_the_factory_that_needs_them() -> None:
    assert not [module for module in imports(ROOT / "wiring.py", top_only=True) if module.startswith("phasegate.adapters")]


def test_ports_and_monitor_know_no_adapter_and_no_wiring() -> None:
    for name in ("ports.py", "monitor.py", "backfill.py", "outgoing.py"):
        assert not [m for m in imports(ROOT / name) if m in ("phasegate.wiring", "phasegate.config", "phasegate.pipeline_file")]


def loaded_by(statement: str, **environ: str) -> set[str]:
    """Modules in `sys.modules` after a statement in a fresh process."""
    code = f"{statement}\nimport sys; print('\\n' + '\\n'.join(sys.modules))"
    env = {"PATH": "/usr/bin:/bin", "PHASEGATE_PIPELINES": str(SHARED / "pipelines"), **environ}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    return set(done.stdout.splitlines())


def test_a_function_starts_without_client_libraries_or_template_engines_of_its_own() -> None:
    """Flask, which the framework brings, imports Jinja; nothing of ours adds to that."""
    framework = loaded_by("import functions_framework")
    folder = SHARED.parent / "functions" / "phase_monitor"
    ours = loaded_by(
        f"import sys; sys.path.insert(0, {str(folder)!r}); import main",
        PHASEGATE_WAREHOUSE="duckdb:w.duckdb",
        PHASEGATE_STATE="sqlite:s.sqlite",
        PHASEGATE_BUS="local:",
    )
    added = {module.partition(".")[0] for module in ours - framework}
    assert "phasegate" in added
    assert not added & {"duckdb", "sqlglot", "sqlite3", "jinja2", "rich", "grpc", "pandas", "pyarrow", "click"}
    assert not {module for module in ours - framework if module.startswith(("google.cloud.", "google.api_core"))}


def test_validating_loads_no_google_client() -> None:
    loaded = loaded_by("from phasegate.cli.validate import command")
    assert not {module for module in loaded if module.startswith("google.cloud.")}
    assert not {"rich", "duckdb", "sqlglot"} & loaded
