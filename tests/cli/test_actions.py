"""Manual actions on the command line: what they print, what `status` and `explain` show of them, and how they are undone."""

import io
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from datetime import date, timedelta
from getpass import getuser
from pathlib import Path
from shutil import copytree

import duckdb
import pytest
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.app.settings import Settings
from phasegate.app.wiring import Wiring
from phasegate.cli.main import main
from phasegate.core.field_syntax import Span
from phasegate.errors import ConfigError
from phasegate.ports import Change, Clock

pytestmark = pytest.mark.slow  # they act on the demo's year

DAY = "2013-02-05"
ROWS, KEY = "raw.flights.row_count", "raw.flights.key"


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def run(folder: Path, *args: str, typed: str = "", clock: Clock | None = None) -> Done:
    """A command in this process, as it would run in a folder; *typed* is what a person types."""
    out, err = io.StringIO(), io.StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as left:
            main(list(args), clock=clock)
    return Done(int(left.value.code or 0), out.getvalue(), err.getvalue())


HALVE = f"DELETE FROM raw.flights WHERE flight_date = '{DAY}' AND flight % 2 = 0"  # noqa: S608
COPY = f"INSERT INTO raw.flights SELECT * FROM raw.flights WHERE flight_date = '{DAY}' LIMIT 3"  # noqa: S608
CLEAN_UP = f"""
CREATE TABLE whole AS SELECT DISTINCT * FROM raw.flights WHERE flight_date = '{DAY}';
DELETE FROM raw.flights WHERE flight_date = '{DAY}';
INSERT INTO raw.flights SELECT * FROM whole
"""  # noqa: S608


def change(folder: Path, statement: str) -> None:
    with duckdb.connect(str(folder / ".phasegate/demo/warehouse.duckdb")) as connection:
        connection.execute(statement)


@pytest.fixture(scope="module")
def held(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which raw of 5 February has half of its flights, and both producers have reported. Read only."""
    checkout = tmp_path_factory.mktemp("held")
    copytree(demo_folder, checkout, dirs_exist_ok=True, symlinks=True)
    change(checkout, HALVE)
    for producer in ("flights_loader", "weather_loader"):
        run(checkout, "complete", "raw", DAY, "--producer", producer)
    return checkout


@pytest.fixture
def folder(held: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    copytree(held, tmp_path, dirs_exist_ok=True, symlinks=True)
    return tmp_path


def test_an_override_of_one_failed_check_does_not_let_a_second_failure_through(folder: Path) -> None:
    """It is shown by `explain` and `status`, and stays in the history."""
    change(folder, COPY)
    done = run(
        folder, "override", "raw", DAY, "--check", ROWS, "--reason", "half the fleet stood", "--until", "24h", "--by", "ann"
    )
    assert done.returncode == 1, done.stderr
    assert f"flights/raw/{DAY} is held: " in done.stdout
    assert "go-signal" not in done.stdout
    assert f"undo with: phasegate end-override raw {DAY} --pipeline flights" in done.stdout
    waived = f"{ROWS} waived by ann until "
    for shown in (run(folder, "explain", "raw", DAY), run(folder, "status", DAY)):
        assert waived in shown.stdout
        assert f": half the fleet stood (to end it: phasegate end-override raw {DAY} --pipeline flights)" in shown.stdout
    history = run(folder, "explain", "raw", DAY).stdout.partition("history (UTC):")[2]
    assert f"by hand: ann: override of {ROWS} until " in history

    done = run(folder, "override", "raw", DAY, "--check", KEY, "--reason", "known copies", "--until", "24h", "--by", "ann")
    assert done.returncode == 0, done.stderr
    assert f"flights/raw/{DAY} is open: released by ann: half the fleet stood" in done.stdout
    assert f"go-signal flights/raw/{DAY}/g1 starts clean" in done.stdout
    assert waived in run(folder, "status", DAY).stdout, "of a gate that is open, too"


def test_an_expired_override_waives_nothing(folder: Path) -> None:
    """It is no longer shown as active, but stays in the history."""
    change(folder, COPY)
    run(folder, "override", "raw", DAY, "--check", ROWS, "--reason", "half the fleet stood", "--until", "24h", "--by", "ann")
    expire(folder)
    change(folder, CLEAN_UP)
    run(folder, "complete", "raw", DAY, "--producer", "weather_loader")
    before, _, history = run(folder, "explain", "raw", DAY).stdout.partition("history (UTC):")
    assert "is held" in before
    assert "waived by ann" not in before
    assert f"by hand: ann: override of {ROWS}" in history
    assert "waived by ann" not in run(folder, "status", DAY).stdout


def expire(folder: Path) -> None:
    """Move its overrides into the past, so that they have ended."""
    store = SQLiteStore(str(folder / ".phasegate/demo/state.sqlite"))
    day = date.fromisoformat(DAY)
    gate = store.load("flights", Span(day, day))[day]["raw"]
    day_ago = timedelta(days=1, minutes=1)
    ended = tuple(replace(o, at=o.at - day_ago, until=o.until - day_ago) for o in gate.overrides)
    store.commit(Change(replace(gate, overrides=ended)))


def test_a_hold_can_be_released(folder: Path) -> None:
    done = run(folder, "hold", "clean", DAY, "--reason", "the source is being reloaded", "--by", "ann")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"flights/clean/{DAY} is held: put on hold by ann: the source is being reloaded" in done.stdout
    assert f"undo with: phasegate release clean {DAY} --pipeline flights" in done.stdout
    assert "held by ann since " in run(folder, "status", DAY).stdout
    undone = run(folder, *done.stdout.partition("undo with: phasegate ")[2].split())
    assert undone.returncode == 0, undone.stderr
    assert "held by ann" not in run(folder, "status", DAY).stdout
    assert run(folder, "release", "clean", DAY).returncode == 2


def test_an_accepted_gap_can_be_ended(folder: Path) -> None:
    args = ("--reason", "lost at the source", "--owner", "bob", "--until", "2999-01-01", "--by", "ann")
    done = run(folder, "accept-gap", "raw", DAY, *args)
    assert done.returncode == 0, done.stderr
    assert "is accepted: ann accepted the gap until 2999-01-01 (owner: bob): lost at the source" in done.stdout
    assert "gap accepted by ann until " in run(folder, "explain", "raw", DAY).stdout
    undone = run(folder, *done.stdout.partition("undo with: phasegate ")[2].split(), "--reason", "found it")
    assert undone.returncode == 0
    assert f"flights/raw/{DAY} is held" in undone.stdout
    assert "CRITICAL: [flights] raw of 2013-02-05: held (again)" in undone.stderr, "an alert goes out again"


@pytest.mark.parametrize("subject", [("raw",), ()])
def test_a_pause_is_shown_stops_releases_and_can_be_resumed(folder: Path, subject: tuple[str, ...]) -> None:
    done = run(folder, "pause", *subject, "--reason", "the warehouse moves", "--until", "4h", "--by", "ann")
    assert (done.returncode, done.stderr) == (0, "")
    name = "/".join(("flights", *subject))
    assert f"{name} is paused by ann until " in done.stdout
    undo = " ".join(("phasegate", "resume", *subject, "--pipeline", "flights"))
    assert f"undo with: {undo}" in done.stdout
    for shown in (run(folder, "status", DAY), run(folder, "explain", "raw", DAY)):
        assert f": the warehouse moves (to end it: {undo})" in shown.stdout
    waived = run(folder, "override", "raw", DAY, "--check", ROWS, "--reason", "known", "--until", "24h", "--by", "ann")
    assert waived.returncode == 1
    assert f"flights/raw/{DAY} is held: {name} is paused by ann" in waived.stdout
    ended = run(folder, *undo.split()[1:], "--by", "bob", "--reason", "it has moved")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"{name} is resumed; it was paused by ann: the warehouse moves" in ended.stdout
    assert "paused by ann" not in run(folder, "status", DAY).stdout.splitlines()[-1]
    history = run(folder, "explain", "raw", DAY).stdout.partition("history (UTC):")[2]
    assert f"by hand: ann: pause of {name} until " in history
    assert f"by hand: bob: end of the pause of {name}: it has moved" in history


def test_a_dry_run_of_a_pause_pauses_nothing(held: Path) -> None:
    done = run(held, "pause", "raw", "--reason", "the warehouse moves", "--until", "4h", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "nothing was changed\n")
    assert "paused" not in run(held, "status", DAY).stdout


RANGE = "2013-12-29..2013-12-31"
ACCEPT = ("accept-gap", "raw", RANGE, "--reason", "no weather in winter", "--until", "2999-01-01", "--by", "ann")


def test_several_dates_need_a_confirmation(folder: Path) -> None:
    """The question comes after what each gate would become. Dates on which the action makes no sense are skipped."""
    done = run(folder, *ACCEPT, typed="n\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert "flights/raw/2013-12-30 would be accepted: " in done.stderr
    assert "Apply this to 3 gates (gap accepted until 2999-01-01: no weather in winter)? [y/N]" in done.stderr
    assert "nothing was changed; use --yes" in done.stderr
    assert "gap accepted" not in run(folder, "status", RANGE).stdout
    done = run(folder, *ACCEPT, typed="y\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" is accepted: ann accepted the gap") == 3
    assert f"undo with: phasegate end-gap raw {RANGE} --pipeline flights" in done.stdout
    assert run(folder, "end-gap", "raw", "2013-12-30").returncode == 0
    done = run(folder, "end-gap", "raw", RANGE, "--yes")
    assert done.returncode == 0
    assert "refused: flights/raw/2013-12-30: nobody has accepted a gap" in done.stderr


def test_without_a_terminal_nothing_is_done(held: Path) -> None:
    done = run(held, *ACCEPT)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: nothing was changed; use --yes to act on several gates without a question" in done.stderr


def test_a_dry_run_shows_several_dates(held: Path) -> None:
    done = run(held, *ACCEPT, "--dry-run")
    assert (done.returncode, done.stderr) == (0, "nothing was changed\n")
    assert done.stdout.count(" would be accepted: ") == 3
    assert run(held, "status", RANGE).stdout.count("accepted") == 0


def test_yes_skips_the_question(folder: Path) -> None:
    args = ("--check", "raw.weather.row_count", "--reason", "no weather in winter", "--until", "24h", "--yes")
    for day in ("2013-12-29", "2013-12-30", "2013-12-31"):
        for producer in ("flights_loader", "weather_loader"):
            run(folder, "complete", "raw", day, "--producer", producer)
    done = run(folder, "override", "raw", RANGE, *args)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "refused: flights/raw/2013-12-29: raw.weather.row_count is not failing" in done.stderr
    assert done.stdout.count(" is open: released by ") == 2


def test_a_dry_run_changes_nothing(folder: Path) -> None:
    before = run(folder, "explain", "raw", DAY).stdout
    args = ("raw", DAY, "--check", ROWS, "--reason", "half the fleet stood", "--until", "24h", "--dry-run")
    done = run(folder, "override", *args)
    assert (done.returncode, done.stderr) == (0, "nothing was changed\n")
    assert f"flights/raw/{DAY} would be open: released by " in done.stdout
    assert run(folder, "explain", "raw", DAY).stdout == before


def test_without_by_the_history_has_the_login_name(folder: Path) -> None:
    run(folder, "hold", "clean", DAY, "--reason", "a reload")
    assert f"by hand: {getuser()}: hold: a reload" in run(folder, "explain", "clean", DAY).stdout


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (("override", "raw", DAY, "--check", KEY, "--reason", "x", "--until", "24h"), f"{KEY} is not failing, so there is nothing to waive; failing now: {ROWS}"),
        (("override", "raw", DAY, "--check", "row_count", "--reason", "x", "--until", "24h"), "unknown row_count; known names: "),
        (("override", "raw", DAY, "--reason", "x", "--until", "24h"), "Missing option '--check'"),
        (("override", "raw", DAY, "--check", ROWS, "--until", "24h"), "Missing option '--reason'"),
        (("override", "raw", DAY, "--check", ROWS, "--reason", "x", "--until", "soon"), "--until: expected a span like 24h, a last day like 2013-02-09"),
        (("override", "raw", DAY, "--check", ROWS, "--reason", "x", "--until", "2013-02-09"), "2013-02-09 is in the past"),
        (("hold", "rew", DAY, "--reason", "x"), 'unknown phase "rew"'),
        (("hold", "raw", DAY, "--reason", " "), "needs a reason"),
        (("release", "raw", DAY), "nobody has put it on hold"),
        (("release", "raw", RANGE, "--yes"), "nobody has put it on hold"),
        (("hold", "raw", "2013-12-31..2013-12-29", "--reason", "x"), "the range is reversed"),
        (("end-gap", "raw", DAY), "nobody has accepted a gap"),
        (("end-override", "raw", DAY), "nothing is waived"),
        (("pause", "--reason", "x"), "Missing option '--until'"),
        (("pause", "rew", "--reason", "x", "--until", "4h"), 'unknown phase "rew"'),
        (("pause", "raw", "--reason", "x", "--until", "2013-02-09"), "2013-02-09 is in the past"),
        (("resume", "raw"), "flights/raw is not paused"),
        (("resume",), "flights is not paused"),
    ],
)  # fmt: skip
def test_an_action_that_makes_no_sense_is_refused(held: Path, args: tuple[str, ...], error: str) -> None:
    done = run(held, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert error in done.stderr
    assert "Traceback" not in done.stderr


def wiring(state: str, account: Callable[[], str]) -> Wiring:
    return Wiring(Settings.resolve({"state": state}, {}, Path()), account=account)


def test_in_the_cloud_the_credentials_name_the_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    cloud = wiring("firestore:my-project/gates", lambda: "ann@example.com")
    assert cloud.actor(None) == "ann@example.com"
    with pytest.raises(ConfigError, match="your credentials identify you"):
        cloud.actor("bob")


def test_on_one_machine_by_names_the_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    local = wiring("sqlite:state.sqlite", lambda: "ann@example.com")
    assert (local.actor("bob"), local.actor(None)) == ("bob", getuser())
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "localhost:1")
    assert wiring("firestore:my-project/gates", lambda: "ann@example.com").actor("bob") == "bob"


def test_actions_work_with_firestore_too(
    folder: Path, firestore_emulator: str, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_emulator)
    state = ("--state", f"firestore:{project}/(default)")
    why = ("--reason", "a reload", "--by", "ann")
    assert run(folder, "hold", "clean", DAY, *why, *state).returncode == 0
    assert run(folder, "accept-gap", "raw", DAY, *why, "--until", "24h", *state).returncode == 0
    assert run(folder, "pause", "raw", *why, "--until", "24h", *state).returncode == 0
    shown = run(folder, "status", DAY, *state).stdout
    for line in ("held by ann since ", "gap accepted by ann until ", "flights/raw is paused by ann until "):
        assert line in shown
    assert run(folder, "release", "clean", DAY, *state).returncode == 0
    assert run(folder, "resume", "raw", *state).returncode == 0
    history = run(folder, "explain", "clean", DAY, *state).stdout.partition("history (UTC):")[2]
    assert ": hold: a reload" in history
    assert ": end of the hold" in history
