"""The search for secrets, which has to be able to find one."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = "from tests.canaries import pytest_runtest_makereport\n"
LEAKS = {
    "standard output": "print(canary('x'))",
    "standard error": "import sys; print(canary('x'), file=sys.stderr)",
    "a log": "import logging; logging.getLogger('client').warning('posting to https://host/%s', canary('x'))",
    "a traceback": "raise ValueError(canary('x'))",
    "a cause": "\n    try: raise ValueError(canary('x'))\n    except ValueError as exc: raise OSError('no') from exc",
    "a file": "(tmp_path / 'state.sqlite').write_bytes(b'..' + canary('x').encode())",
    "base64": "import base64; print(base64.b64encode(b'user:' + canary('x').encode()).decode())",
    "nothing": "assert canary('x'); (tmp_path / 'secrets').mkdir(); (tmp_path / 'secrets/x').write_text(canary('x'))",
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_test_that_leaves_a_secret_behind_fails(leak: str, tmp_path: Path) -> None:
    folder = tmp_path / "secrets"  # not searched: the search that is tested here does
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_leak.py").write_text(f"from tests.canaries import canary\n\ndef test_leak(tmp_path):\n    {LEAKS[leak]}\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--basetemp",
        str(folder / "in"),
        "test_leak.py",
    ]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": ""}
    )
    said = "a secret is left in" in done.stdout
    assert said == (leak != "nothing"), done.stdout
    assert done.returncode == (1 if said else 0)
    assert "canary-" not in done.stdout, "and it is not repeated in the report"
