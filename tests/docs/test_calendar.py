"""docs/calendar.md: each file that it shows loads."""

import re
from pathlib import Path

import pytest
from phasegate.app.pipeline_file import load

TEXT = (Path(__file__).parents[2] / "docs/calendar.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("phases", BLOCKS[1:])
def test_what_the_page_shows_is_a_pipeline_file(tmp_path: Path, phases: str) -> None:
    calendar = BLOCKS[0].replace("  parts:", "  parts:\n    break: {from: 2026-02-01, days: 7}")
    (tmp_path / "p.yaml").write_text(f"pipeline: p\n{calendar}{phases}")
    assert load(tmp_path / "p.yaml").phases
