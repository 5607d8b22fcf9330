"""The exit code tells the truth, whatever goes wrong: a bug, a missing extra, a closed pipe, a full disk, a small character set."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import duckdb
import pytest
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.cli import main as cli

from tests.cli.test_actions import run

pytestmark = pytest.mark.slow  # each test starts processes of its own

PHASEGATE = Path(sys.executable).parent / "phasegate"
PIPELINE = """
pipeline: shop
calendar: {from: 2024-01-01}
phases:
  raw:
    outputs:
      raw.orders: {date: day, key: [id]}
"""
NAME = ":smile: 世𝛼 ●"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.yaml").write_text(PIPELINE)
    with duckdb.connect(str(tmp_path / "wh.duckdb")) as connection:
        connection.execute("CREATE SCHEMA raw; CREATE TABLE raw.orders AS SELECT DATE '2024-02-05' AS day, 1 AS id")
    return tmp_path


def command(folder: Path, *args: str, stdout: int = subprocess.PIPE, **environ: str) -> subprocess.CompletedProcess[bytes]:
    places = {"PHASEGATE_PIPELINES": "shop.yaml", "PHASEGATE_WAREHOUSE": "duckdb:wh.duckdb"}
    environ = {**os.environ, **places, **environ}
    return subprocess.run([PHASEGATE, *args], cwd=folder, env=environ, stdout=stdout, stderr=subprocess.PIPE, check=False)


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_a_full_disk_is_told_in_one_line(folder: Path, form: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = command(folder, "validate", "2024-02-05", "--format", form, stdout=full.fileno())
    assert done.returncode == 3
    assert done.stderr == b"error: the output: No space left on device\n"


@pytest.mark.parametrize("args", [("--help",), ("--version",), ("validate", "--help"), ("config", "schema")])
def test_output_without_a_gate_behind_it_can_fail_too(folder: Path, args: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = command(folder, *args, stdout=full.fileno())
    assert (done.returncode, done.stderr) == (3, b"error: the output: No space left on device\n")


@pytest.mark.parametrize(
    "args",
    [*(("validate", "2024-02-05", "--format", form) for form in ("table", "json", "jsonl", "csv")), ("--help",), ("config", "schema")],
)  # fmt: skip
def test_a_closed_pipe_is_no_verdict(folder: Path, args: tuple[str, ...]) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    done = command(folder, *args, stdout=writes)
    os.close(writes)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_error_that_cannot_be_printed_keeps_its_code(folder: Path) -> None:
    for args, code in ((("validate", "TODAY"), 2), (("validate", "2024-02-05", "--warehouse", "duckdb:nowhere"), 3)):
        with Path("/dev/full").open("wb") as full:
            environ = {**os.environ, "PHASEGATE_PIPELINES": "shop.yaml"}
            done = subprocess.run([PHASEGATE, *args], cwd=folder, env=environ, stdout=full, stderr=full, check=False)
        assert done.returncode == code


@pytest.mark.parametrize("error", [TypeError("a [bug]\nin two lines"), KeyError("x"), RecursionError(), AssertionError()])
def test_a_bug_is_no_verdict(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    @click.command()
    def broken() -> None:
        raise error

    monkeypatch.setattr(cli, "load", lambda _: broken)
    done = run(folder, "status")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"error: a bug in phasegate: {type(error).__name__}")
    assert len(done.stderr.splitlines()) == 1
    done = run(folder, "--debug", "status")
    assert done.returncode == 3
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("module", "args", "extra"),
    [
        ("google.cloud", ("validate", "2024-02-05", "--warehouse", "bigquery:my-project"), "gcp"),
        ("google", ("status", "--state", "firestore:my-project/gates"), "gcp"),
        ("duckdb", ("validate", "2024-02-05", "--warehouse", "duckdb:wh.duckdb"), "local"),
        ("rich", ("validate", "2024-02-05", "--warehouse", "duckdb:wh.duckdb"), "local"),
    ],
)
def test_a_missing_extra_is_named_with_its_command(folder: Path, module: str, args: tuple[str, ...], extra: str) -> None:
    """As where the extra is not installed: importing the module fails."""
    code = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r} or name.startswith({module + "."!r}):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
for name in [name for name in sys.modules if name.partition(".")[0] == {module!r}]:
    del sys.modules[name]
from phasegate.cli.main import main
main({list(args)!r})
"""
    environ = {**os.environ, "PHASEGATE_PIPELINES": "shop.yaml"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.endswith(f"pip install 'phasegate[{extra}]'\n")


def test_every_extra_that_is_named_exists() -> None:
    text = (Path(__file__).parents[2] / "shared/pyproject.toml").read_text()
    for extra in cli._EXTRAS.values():
        assert f"\n{extra} = [" in text


@pytest.mark.parametrize("locale", ["iso-8859-1", "ascii", "cp1252"])
@pytest.mark.parametrize("args", [("preflight", "raw", "2024-02-05"), ("validate", "2024-02-01..2024-02-05")])
def test_a_small_character_set_gets_other_signs(folder: Path, locale: str, args: tuple[str, ...]) -> None:
    SQLiteStore(str(folder / "state.sqlite"))
    done = command(folder, *args, PYTHONIOENCODING=locale, PHASEGATE_STATE="sqlite:state.sqlite")
    wide = command(folder, *args, PYTHONIOENCODING="utf-8", PHASEGATE_STATE="sqlite:state.sqlite")
    assert done.returncode == wide.returncode
    assert (done.stderr, wide.stderr) == (b"", b"")
    assert b"\\u" not in done.stdout


def test_json_stays_json_in_a_small_character_set(folder: Path) -> None:
    (folder / "shop.yaml").write_text(PIPELINE.replace("key: [id]", f"checks: [row_count: {{at_least: 1, name: '{NAME}'}}]"))
    done = command(folder, "validate", "2024-02-05", "--format", "json", PYTHONIOENCODING="latin-1")
    names = [check["name"] for check in json.loads(done.stdout)["dates"][0]["phases"][0]["checks"]]
    assert [NAME.replace("●", "o")] == [name for name in names if "smile" in name]


def test_emoji_codes_stay_text(folder: Path) -> None:
    (folder / "shop.yaml").write_text(PIPELINE.replace("key: [id]", f"checks: [row_count: {{at_least: 1, name: '{NAME}'}}]"))
    done = command(folder, "validate", "2024-02-05", PYTHONIOENCODING="utf-8")
    assert NAME in done.stdout.decode()


def test_a_closed_date_is_off_everywhere(folder: Path) -> None:
    """Nothing to do is neither a wrong date nor a gate that is blocked."""
    file = folder / "shop.yaml"
    file.write_text(
        file.read_text().replace("calendar: {from: 2024-01-01", "calendar: {closed: [2024-02-05], from: 2024-01-01")
    )
    done = command(folder, "validate", "2024-02-05", "--format", "jsonl", PHASEGATE_STATE="sqlite:state.sqlite")
    assert (done.returncode, b'"verdict": "off"' in done.stdout) == (0, True), done.stdout
    ahead = command(folder, "preflight", "raw", "2024-02-05", PHASEGATE_STATE="sqlite:state.sqlite")
    assert (ahead.returncode, ahead.stdout.splitlines()[0]) == (5, b"off: shop/raw/2024-02-05")


def test_status_exits_with_1_while_a_gate_needs_a_person(folder: Path) -> None:
    state = {"PHASEGATE_STATE": "sqlite:state.sqlite"}
    command(folder, "complete", "raw", "2024-02-05", **state)
    assert command(folder, "status", "2024-02-05", **state).returncode == 0
    command(folder, "complete", "raw", "2024-02-09", **state)
    assert command(folder, "status", "2024-02-09", **state).returncode == 1
    assert command(folder, "status", "2024-02-05", **state).returncode == 0, "of the dates that it shows"


@pytest.mark.parametrize(
    ("zone", "check", "loaded", "verdict"),
    [
        ("Asia/Tokyo", "", "2024-02-05 22:00:00", b"fail"),
        ("Asia/Tokyo", "", "2024-02-06 04:00:00", b"pass"),
        ("Asia/Tokyo", ", zone: UTC", "2024-02-05 20:00:00", b"pass"),
        ("America/New_York", "", "2024-02-06 05:20:00", b"pass"),
    ],
)
def test_a_naive_time_is_fresh_by_the_clock_of_the_pipeline(
    folder: Path, zone: str, check: str, loaded: str, verdict: bytes
) -> None:
    fresh = f"{{fresh: {{column: loaded_at, within: 3h{check}}}}}"
    (folder / "shop.yaml").write_text(
        f"pipeline: shop\ntimezone: {zone}\ncalendar: {{from: 2024-01-01}}\nphases:\n  raw:\n    due: 06:00 +1d\n"
        f"    outputs: {{raw.orders: {{date: day, checks: [{fresh}]}}}}\n"
    )
    with duckdb.connect(str(folder / "wh.duckdb")) as connection:
        select = f"SELECT DATE '2024-02-05' AS day, 1 AS id, TIMESTAMP '{loaded}' AS loaded_at"
        connection.execute(f"CREATE OR REPLACE TABLE raw.orders AS {select}")
    done = command(folder, "validate", "2024-02-05", "--format", "jsonl", PHASEGATE_STATE="sqlite:s.sqlite")
    assert b'"verdict": "' + verdict in done.stdout, done.stdout


@pytest.mark.parametrize(
    "checks",
    ["", "checks: [{not_null: {columns: [price], severity: warn}}]", "checks: [{row_count: {at_least: 1, skip_in: [feb]}}]"],
)
@pytest.mark.parametrize("missing", ["DROP TABLE raw.orders", "ALTER TABLE raw.orders DROP COLUMN day"])
def test_what_may_be_empty_must_still_be_counted(folder: Path, checks: str, missing: str) -> None:
    """Nothing blocks it, and nothing has proved that the phase wrote anything."""
    output = f"{{date: day, may_be_empty: true{', ' if checks else ''}{checks}}}"
    (folder / "shop.yaml").write_text(
        "pipeline: shop\ncalendar: {from: 2024-01-01, parts: {feb: {from: 2024-02-01, days: 29}}}\nphases:\n  raw:\n"
        f"    outputs: {{raw.orders: {output}}}\n"
    )
    state = {"PHASEGATE_STATE": "sqlite:s.sqlite"}
    with duckdb.connect(str(folder / "wh.duckdb")) as connection:
        connection.execute("ALTER TABLE raw.orders ADD COLUMN price INT DEFAULT 1")
    assert command(folder, "validate", "2024-02-06", **state).returncode == 0, "empty, and that may be"
    with duckdb.connect(str(folder / "wh.duckdb")) as connection:
        connection.execute(missing)
    assert command(folder, "validate", "2024-02-06", **state).returncode == 3
    done = command(folder, "complete", "raw", "2024-02-06", **state)
    assert (done.returncode, done.stdout.splitlines()[0].startswith(b"shop/raw/2024-02-06 is unverified")) == (3, True)


SCHEDULED = """\
pipeline: shop
calendar:
  from: 2024-01-01
  expected: {table: raw.games, date: day, count: game, where: "state != 'postponed'"}
phases:
  raw:
    outputs:
      raw.orders: {date: day, checks: [coverage: {of: expected, columns: [id], at_least: AT_LEAST}]}
"""


@pytest.mark.parametrize(("at_least", "code"), [("1", 1), ("0.6", 0)])
def test_coverage_of_the_expected_entities_names_the_share(folder: Path, at_least: str, code: int) -> None:
    (folder / "shop.yaml").write_text(SCHEDULED.replace("AT_LEAST", at_least))
    with duckdb.connect(str(folder / "wh.duckdb")) as connection:
        connection.execute("INSERT INTO raw.orders VALUES (DATE '2024-02-05', 2)")
        connection.execute(
            "CREATE TABLE raw.games AS SELECT DATE '2024-02-05' AS day, unnest([1, 2, 3, 4]) AS game, unnest(['a', 'a', 'a', 'postponed']) AS state"
        )
    done = command(folder, "validate", "2024-02-05", PHASEGATE_STATE="sqlite:s.sqlite")
    assert done.returncode == code
    assert b"table raw.orders has 2 of 3 keys (game) of raw.games" in done.stdout, done.stdout
    assert b"raw.orders.coverage.expected" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("of: expected,", "of: expected, key: [id],", b"no key with of: expected; the calendar has it"),
        ("of: expected,", "of: expect,", b"expected `expected` or a table name like dataset.table"),
        ("columns: [id]", "columns: [id, day]", b"as many columns as key has"),
        (
            "  expected: {table: raw.games, date: day, count: game, where: \"state != 'postponed'\"}\n",
            "",
            b"expected calendar.expected to be declared",
        ),
        (
            "{table: raw.games, date: day, count: game, where: \"state != 'postponed'\"}",
            "{query: 'SELECT day, game FROM raw.games WHERE day BETWEEN @from AND @to', date: day, count: game}",
            b"expected calendar.expected to have a table",
        ),
    ],
)
def test_a_wrong_coverage_of_the_expected_is_refused(folder: Path, old: str, new: str, problem: bytes) -> None:
    text = SCHEDULED.replace("AT_LEAST", "1")
    assert old in text
    (folder / "shop.yaml").write_text(text.replace(old, new))
    done = command(folder, "config", "check")
    assert (done.returncode, problem in done.stderr) == (2, True), done.stderr
