"""The demo's week: each event is held or noticed with a message that a newcomer understands, then repaired and released."""

import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
PHASEGATE = str(Path(sys.executable).parent / "phasegate")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The output of `phasegate demo`, and the folder in which it was started."""
    folder = tmp_path_factory.mktemp("story")
    command = [PHASEGATE, "demo", "--pipelines", str(REPO / "shared/pipelines")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout, folder


def day(text: str, title: str) -> str:
    """The lines of one day."""
    return text.partition(f": {title} ─")[2].partition("\n── ")[0]


@pytest.mark.parametrize(
    ("title", "noticed"),
    [
        ("only half of a file arrives", "raw is held: table raw.flights has 448 rows, 0.5 × the 896 expected"),
        ("one load runs twice", "901 duplicate rows for (flight_date, carrier, flight, origin)"),
        (
            "one producer does not report",
            "raw is overdue: weather_loader has not reported; flights_loader has; table raw.weather has 0 rows",
        ),
        (
            "a phase runs before its upstream",
            "features is held: ran before its upstream: clean had not been released when it started",
        ),
    ],
)
def test_each_event_is_noticed_then_repaired_and_released(played: tuple[str, Path], title: str, noticed: str) -> None:
    lines = " ".join(day(played[0], title).split())
    assert noticed in lines
    before, _, after = lines.partition(noticed)
    assert "→ go-signal flights/predictions" not in before
    assert "is open: all needed checks pass" in after
    assert "RECOVERED: " in after
    assert "predictions" in after


def test_the_blizzard_is_released_with_a_warning(played: tuple[str, Path]) -> None:
    friday = day(played[0], "a blizzard; the data is right, but the day is unusual")
    assert "raw is open" in friday
    assert "WARNING: [flights] raw of 2013-02-08: released with warnings" in friday


def test_a_job_that_asks_first_does_not_start_too_early(played: tuple[str, Path]) -> None:
    lines = " ".join(day(played[0], "a good day again").split())
    before, _, after = lines.partition("✗ no-go: clean is waiting: no report received; go once clean has run")
    assert "→ go-signal" not in before
    assert "features, predictions run in turn" in after


def test_a_good_day_raises_no_alert(played: tuple[str, Path]) -> None:
    for title in ("a good day", "a good day again"):
        assert "│" not in day(played[0], title)
        assert "raw is open" in day(played[0], title)


def test_the_year_is_judged_at_the_end(played: tuple[str, Path]) -> None:
    assert "flights 2013-01-01..2013-12-31: 346 pass, 15 acceptable, 4 fail   11 queries" in played[0]
    assert all(f"2013-{month:02}  " in played[0] for month in range(1, 13))


def test_it_stores_its_files_where_the_commands_find_them(played: tuple[str, Path]) -> None:
    folder = played[1] / ".phasegate/demo"
    assert {path.name for path in folder.iterdir()} >= {"warehouse.duckdb", "state.sqlite", "mails"}
    mails = [path.name for path in (folder / "mails/team").iterdir()]
    assert any("checks_failed" in name for name in mails)
    assert any("recovered" in name for name in mails)


def test_the_suggested_commands_work(played: tuple[str, Path]) -> None:
    tries = [line.strip().split("   ")[0] for line in played[0].splitlines() if line.startswith("  phasegate ")]
    assert len(tries) >= 5
    (played[1] / "shared").mkdir(exist_ok=True)
    if not (played[1] / "shared/pipelines").exists():
        (played[1] / "shared/pipelines").symlink_to(REPO / "shared/pipelines")
    for command in tries:
        done = subprocess.run(
            [PHASEGATE, *command.split()[1:]], cwd=played[1], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode in (0, 1), f"{command}: {done.stderr}"
        assert done.stdout


def test_the_readme_shows_what_it_prints(played: tuple[str, Path]) -> None:
    readme = (REPO / "README.md").read_text()
    shown = [line for block in readme.split("```text\n")[1:3] for line in block.partition("```")[0].splitlines()]
    assert len(shown) > 20
    printed = played[0].splitlines()
    missing = [line for line in shown if line != "…" and not any(out.startswith(line) for out in printed)]
    assert not missing
