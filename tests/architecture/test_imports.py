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

# The house, from the ground up. A package imports what stands before it here, and itself.
ORDER = [
    "errors",
    "schemas",
    "core.secret",
    "core.field_syntax",
    "core.checks",
    "core.pipeline",
    "core.gates",
    "core.alerts",
    "core.installation",
    "logs",
    "serialization",
    "ports",
    "messaging",
    "gates",
    "alerts",
    "installation",
    "testing",
    "adapters",
    "app",
    "client",
    "demo",
    "cli",
]
# Only `__getattr__` of the package itself reaches up: it loads what a job's code uses when that is first used.
EXPORTS = "phasegate"


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SHARED).with_suffix("").parts).removesuffix(".__init__")


NAMES = {name_of(path): path for path in MODULES}


def imports(path: Path, *, top_only: bool = False, types: bool = True) -> Iterator[str]:
    """Modules that a module imports, those for types included; with *top_only*, those that its own import loads."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and (top_only or not types):
            node.body.clear()
    nodes = tree.body if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in NAMES else node.module for name in below)


def room_of(module: str) -> str:
    """The entry of `ORDER` that a module belongs to."""
    parts = module.split(".")[1:]
    depth = 2 if parts[0] == "core" and len(parts) > 1 else 1
    return ".".join(parts[:depth])


def ours(path: Path) -> set[str]:
    return {module for module in imports(path) if module.startswith("phasegate")} - {EXPORTS}


def test_every_module_has_a_place_in_the_house() -> None:
    missing = {room_of(name) for name in NAMES if name not in (EXPORTS, "phasegate.core")} - set(ORDER)
    assert not missing, f"add {missing} to ORDER, above everything that they import"


@pytest.mark.parametrize("path", [path for path in MODULES if name_of(path) != EXPORTS], ids=name_of)
def test_imports_run_one_way_those_for_types_included(path: Path) -> None:
    if name_of(path) == "phasegate.core":
        return
    mine = ORDER.index(room_of(name_of(path)))
    upwards = {module for module in ours(path) if ORDER.index(room_of(module)) > mine}
    assert not upwards, f"{name_of(path)} imports {upwards}, which stand above it in ORDER"


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: ours(path) & set(NAMES) for name, path in NAMES.items() if name != EXPORTS}
    with_nothing_left = set()
    while ready := {name for name, needed in graph.items() if needed <= with_nothing_left} - with_nothing_left:
        with_nothing_left |= ready
    assert with_nothing_left == set(graph), f"a circle among {sorted(set(graph) - with_nothing_left)}"


@pytest.mark.parametrize("path", sorted((ROOT / "core").rglob("*.py")), ids=name_of)
def test_core_imports_the_standard_library_itself_and_errors_only(path: Path) -> None:
    for module in imports(path):
        top = module.partition(".")[0]
        allowed = top in sys.stdlib_module_names or module.startswith("phasegate.core") or module == "phasegate.errors"
        assert allowed, f"{name_of(path)} imports {module}"
    assert not {"os", "logging", "sqlite3", "time"} & set(imports(path)), "no environment, no log, no clock"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_adapters_are_imported_by_wiring_and_by_each_other_only(path: Path) -> None:
    importer = name_of(path)
    if importer == "phasegate.app.wiring" or importer.startswith("phasegate.adapters"):
        return
    assert not [module for module in imports(path) if module.startswith("phasegate.adapters")]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_client_libraries_are_imported_in_adapters_only(path: Path) -> None:
    importer = name_of(path)
    if importer.startswith("phasegate.adapters") or importer in LOADERS:
        return
    assert not {module.partition(".")[0] for module in imports(path)} & CLIENTS


def test_wiring_imports_adapters_inside_the_factory_that_needs_them() -> None:
    wiring = ROOT / "app/wiring.py"
    assert not [module for module in imports(wiring, top_only=True) if module.startswith("phasegate.adapters")]


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
