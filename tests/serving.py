"""A function as functions-framework serves it, in a process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

REPO = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PHASE_MONITOR = REPO / "functions/phase_monitor/main.py"


def free_port() -> int:
    """A port that nobody listens on now."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(
    folder: Path,
    environ: Mapping[str, str],
    source: Path = PHASE_MONITOR,
    *,
    target: str = "phase_monitor",
    bin: Path = BIN,  # noqa: A002
    cwd: Path | None = None,
) -> Iterator[str]:
    """Where the function listens; its output goes to `folder/log`.

    Args:
        environ: Settings beside the environment of the tests.
        source: The file with the function in it.
        target: The function's name.
        bin: Where the environment that serves it has its programs; the tests' own, when left out.
        cwd: Where it is started.
    """
    port = free_port()
    framework = [str(bin / "functions-framework"), "--target", target, "--source", str(source)]
    command = [*framework, "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **environ}, stdout=log, stderr=log, cwd=cwd)
    try:
        address = f"http://127.0.0.1:{port}/"
        _wait(address, process, folder / "log")
        yield address
    finally:
        process.terminate()
        process.wait(40)


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(address, timeout=5)
        except urllib.error.HTTPError:
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
    raise AssertionError(log.read_text())
