"""The time from the start of a function's process to its first response, compared with an empty function in the same run.

Every folder of functions/ is started by functions-framework, as in the cloud. The last row creates the clients that a first
message needs, compared with a bare program that creates the same three. Nothing listens on their addresses, and creating a client
does not connect.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from measuring import REPO, process, report, timed

TIMES = 7
SETTINGS = {
    "PHASEGATE_PIPELINES": str(REPO / "shared/pipelines/flights.yaml"),
    "PHASEGATE_WAREHOUSE": "bigquery:nowhere",
    "PHASEGATE_STATE": "firestore:nowhere/(default)",
    "PHASEGATE_BUS": "pubsub:nowhere",
    "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:1",
    "FIRESTORE_EMULATOR_HOST": "127.0.0.1:1",
    "PUBSUB_EMULATOR_HOST": "127.0.0.1:1",
}
EMPTY = """\
import functions_framework

@functions_framework.http
def empty(request):
    return "", 204
"""
BARE_CLIENTS = """\
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, firestore, pubsub_v1
bigquery.Client("nowhere", credentials=AnonymousCredentials())
firestore.Client("nowhere")
pubsub_v1.PublisherClient()
"""
OUR_CLIENTS = "from phasegate.app.wiring import Wiring; Wiring.from_env().monitor"


def first_answer(source: Path, target: str, environ: Mapping[str, str]) -> Callable[[], None]:
    """A function's process, from its start to its first response, of any status.

    Raises:
        RuntimeError: The process ended, or did not respond within a minute.
    """
    command = [str(Path(sys.executable).parent / "functions-framework"), "--target", target, "--source", str(source)]

    def start() -> None:
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], env=environ, stdout=subprocess.DEVNULL
        )
        try:
            until = time.monotonic() + 60
            while not answers(f"http://127.0.0.1:{port}/"):
                if server.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{source} does not answer")
                time.sleep(0.01)
        finally:
            server.kill()
            server.wait()

    return start


def answers(address: str) -> bool:
    """True when there is a response, error statuses included."""
    try:
        urllib.request.urlopen(address, timeout=60)  # noqa: S310 - an address of this file
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def main() -> None:
    """Measure, print, and write the table."""
    environ = {**os.environ, **SETTINGS}
    with TemporaryDirectory() as folder:
        empty = Path(folder, "main.py")
        empty.write_text(EMPTY)
        floor = timed(first_answer(empty, "empty", environ), TIMES)
    rows = [
        (source.parent.name, floor, timed(first_answer(source, source.parent.name, environ), TIMES))
        for source in sorted((REPO / "functions").glob("*/main.py"))
    ]
    bare = timed(process(sys.executable, "-c", BARE_CLIENTS, environ=environ), TIMES)
    ours = timed(process(sys.executable, "-c", OUR_CLIENTS, environ=environ), TIMES)
    rows.append(("settings, pipelines and the three clients, without a server", bare, ours))
    lead = f"Medians of {TIMES} on two cores, with compiled bytecode; compare the ratios. The floor: an empty function, served alike."
    report("cold_start", "From the start of a process to its first answer", lead, rows)


if __name__ == "__main__":
    main()
