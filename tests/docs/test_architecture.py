"""docs/architecture.md is true: its table is the order of imports, and its walks lead down through code that exists."""

import ast
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.architecture.test_imports import EXPORTS, NAMES, ORDER, imports, own_imports, package_of

REPO = Path(__file__).parents[2]
TEXT = (REPO / "docs" / "architecture.md").read_text()
ROWS = re.findall(r"^\| `([\w.]+)` \| .* \| ?(.*) \|$", TEXT.partition("## Where")[0], re.MULTILINE)

STEP = re.compile(r"^\d+\. \[`[^`]+`\]\(\.\./([^)]+)\) ((?:`[\w.]+`(?:, )?)+)( \(handed over\))?:", re.MULTILINE)


class Step(NamedTuple):
    path: str
    functions: list[str]
    handed_over: bool
    """The step before gets its classes as values, and does not import the file."""


WALKS = {
    section.partition("\n")[0]: [
        Step(path, re.findall(r"`([\w.]+)`", names), bool(handed)) for path, names, handed in STEP.findall(section)
    ]
    for section in TEXT.partition("## Five walks")[2].split("\n### ")[1:]
}
ABOVE = len(ORDER)
"""The place of a function's `main.py`: above all packages."""


def module_of(path: str) -> str:
    return ".".join(Path(path).relative_to("shared").with_suffix("").parts)


def place(path: str) -> int:
    return ORDER.index(package_of(module_of(path))) if path.startswith("shared/") else ABOVE


def defined(path: Path) -> set[str]:
    """The names of the functions and classes of a file; a method as Class.method."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{member.name}" for member in node.body if isinstance(member, ast.FunctionDef)}
    return names


def test_the_table_has_every_package_from_bottom_to_top() -> None:
    assert [name for name, _ in ROWS] == ORDER


@cache
def package_imports() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {name: set() for name in ORDER}
    for module, path in NAMES.items():
        if module not in (EXPORTS, "phasegate.core"):
            package = package_of(module)
            graph[package] |= {package_of(other) for other in own_imports(path) - {"phasegate.core"}} - {package}
    return graph


@pytest.mark.parametrize(("package", "listed"), ROWS, ids=[name for name, _ in ROWS])
def test_a_row_lists_what_its_package_imports(package: str, listed: str) -> None:
    graph = package_imports()
    expected = ", ".join(f"`{name}`" for name in ORDER if name in graph[package] and graph[name])
    assert listed.strip() == expected, f"write: {expected}"


def test_there_are_five_walks() -> None:
    assert list(WALKS) == ["A completion", "A tick", "An alert", "A validation", "A deployment"]


@pytest.mark.parametrize("name", WALKS)
def test_a_walk_has_at_most_six_files(name: str) -> None:
    steps = WALKS[name]
    assert 3 <= len(steps) <= 6
    section = TEXT.partition(f"### {name}\n")[2].partition("\n#")[0]
    assert len(steps) == len(re.findall(r"^\d+\.", section, re.MULTILINE)), "a step names a file and its functions"


@pytest.mark.parametrize("name", WALKS)
def test_every_function_of_a_walk_exists(name: str) -> None:
    for step in WALKS[name]:
        missing = set(step.functions) - defined(REPO / step.path)
        assert not missing, f"{step.path} has no {missing}"


@pytest.mark.parametrize("name", WALKS)
def test_no_step_of_a_walk_leads_up(name: str) -> None:
    for before, after in pairwise(WALKS[name]):
        assert place(after.path) <= place(before.path), f"{after.path} stands above {before.path} in ORDER"


@pytest.mark.parametrize("name", WALKS)
def test_every_file_of_a_walk_is_imported_by_one_before_it(name: str) -> None:
    first, *others = WALKS[name]
    imported = set(imports(REPO / first.path))
    for step in others:
        assert step.handed_over or module_of(step.path) in imported, f"no file before {step.path} imports it"
        imported |= set(imports(REPO / step.path))
