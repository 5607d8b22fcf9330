"""Emulators, run for the tests: the jars of the Google Cloud SDK, started with `java` itself, and one of BigQuery.

Killing `gcloud beta emulators …` leaves its Java process behind, and starting it takes twice as long.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NoReturn

import pytest

FOLDER = "PHASEGATE_EMULATORS"
"""A folder with the jars, at any depth; the SDK's own is found without it. Set to `none`, tests that need an emulator skip."""

NONE = "none"

REQUIRED = "PHASEGATE_REQUIRE_EMULATORS"
"""Set to 1, a missing emulator or tool fails the tests that need it instead of skipping them."""

SDK = Path("/usr/lib/google-cloud-sdk")

SIDE = Path(__file__).parents[1] / ".venv-emulators"
"""What `make emulators` makes."""

PINS = Path(__file__).with_name("emulators-requirements.txt")

READY = 60.0
"""Seconds that one may take to answer; a loaded machine with two cores needs some."""


@dataclass(frozen=True)
class Emulator:
    """One of the emulators: its component in the SDK, its jar, and the variable in which clients look for it."""

    name: str
    component: str
    jars: str
    host_variable: str
    main: str | None = None
    alive: str = "/"
    """A path that answers 200 once it is ready."""

    @property
    def way(self) -> str:
        """How to come by it."""
        return f"gcloud components install {self.component}, with Java, or set {FOLDER} to a folder with its jar"

    def environ(self) -> Mapping[str, str] | None:
        """What it runs in; None for our own environment."""
        return None

    def find(self, environ: Mapping[str, str] = os.environ) -> Path | None:
        """Its jar; None when there is none, or no Java to run it."""
        if shutil.which("java") is None:
            return None
        return next((jar for folder in self._folders(environ) for jar in sorted(folder.rglob(self.jars), reverse=True)), None)

    def _folders(self, environ: Mapping[str, str]) -> Iterator[Path]:
        if FOLDER in environ:
            yield Path(environ[FOLDER])
            return
        gcloud = shutil.which("gcloud")
        if gcloud:
            yield Path(gcloud).resolve().parents[1] / "platform" / self.component
        yield SDK / "platform" / self.component

    def version(self, jar: Path) -> str:
        """Its version, from the jar's name or from what the SDK notes about its components."""
        named = re.search(r"-(\d+(?:\.\d+)+)", jar.name)
        if named:
            return named[1]
        for parent in jar.parents:
            note = parent / ".install" / f"{self.component}.snapshot.json"
            if note.is_file():
                return str(json.loads(note.read_text())["components"][0]["version"]["version_string"])
        return "of unknown version"

    def command(self, jar: Path, port: int, folder: Path) -> Sequence[str]:
        """How it is started; *folder* is for what it keeps."""
        start = ["-cp", str(jar), self.main] if self.main else ["-jar", str(jar)]
        return ["java", "-XX:TieredStopAtLevel=1", "-Xmx512m", *start, "--host=127.0.0.1", f"--port={port}"]


FIRESTORE = Emulator(
    "Firestore",
    "cloud-firestore-emulator",
    "cloud-firestore-emulator*.jar",
    "FIRESTORE_EMULATOR_HOST",
    "com.google.cloud.datastore.emulator.firestore.CloudFirestore",
)
PUBSUB = Emulator("Pub/Sub", "pubsub-emulator", "cloud-pubsub-emulator*.jar", "PUBSUB_EMULATOR_HOST")


@dataclass(frozen=True)
class LocalBigQuery:
    """The package local-bigquery, in an environment of its own: it needs Python 3.13, and DuckDB with extensions."""

    name: str = "BigQuery"
    host_variable: str = "BIGQUERY_EMULATOR_HOST"
    way: str = "make emulators"
    alive: str = "/bigquery/v2/projects/ready/datasets"
    """The first request loads the extensions, and takes a second."""

    def find(self) -> Path | None:
        """Its command; None when `make emulators` has not been run."""
        return SIDE / "bin/local-bigquery" if (SIDE / "ready").exists() else None

    def version(self, command: Path) -> str:
        """Its version, from the pins that it was installed by."""
        return next(line.partition("==")[2] for line in PINS.read_text().split() if line.startswith("local-bigquery=="))

    def command(self, command: Path, port: int, folder: Path) -> Sequence[str]:
        """How it is started; by itself it would listen to everybody."""
        own = ["--host", "127.0.0.1", "--port", str(port), "--grpc-port", str(_free_port()), "--data-dir", str(folder)]
        return [str(command), *own, "serve"]

    def environ(self) -> Mapping[str, str] | None:
        """DuckDB looks for its extensions in the home folder: theirs is beside the environment."""
        return {**os.environ, "HOME": str(SIDE / "home")}


BIGQUERY = LocalBigQuery()


def describe() -> str:
    """One line for the head of the report: which emulators there are."""
    if os.environ.get(FOLDER) == NONE:
        return "emulators: none"
    found = []
    for emulator in (FIRESTORE, PUBSUB, BIGQUERY):
        host, jar = os.environ.get(emulator.host_variable), emulator.find()
        what = f"at {host}" if host else emulator.version(jar) if jar else "missing"
        found.append(f"{emulator.name} {what}")
    return f"emulators: {', '.join(found)}"


@contextmanager
def running(emulator: Emulator | LocalBigQuery) -> Iterator[str]:
    """Where the emulator listens: the one that its variable names, or one that is started here and stopped at the end."""
    if os.environ.get(FOLDER) == NONE:
        pytest.skip(f"{FOLDER}={NONE}")
    given = os.environ.get(emulator.host_variable)
    if given:
        yield given
        return
    with started(emulator) as host:
        yield host


@contextmanager
def started(emulator: Emulator | LocalBigQuery) -> Iterator[str]:
    """Where an emulator of our own listens; it is stopped at the end, whatever happens."""
    jar = emulator.find()
    if jar is None:
        missing(f"{emulator.name} emulator", emulator.way)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        port = _free_port()
        command = emulator.command(jar, port, Path(folder))
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=emulator.environ())
        try:
            if not _answers(process, port, emulator.alive):
                output.seek(0)
                raise RuntimeError(f"{emulator.name} emulator did not start: {output.read()[-2000:].decode(errors='replace')}")
            yield f"127.0.0.1:{port}"
        finally:
            # Nothing in it is worth a clean end, and asking for one takes seconds.
            process.kill()
            process.wait()


def missing(what: str, way: str) -> NoReturn:
    """End a test that can't do without something: skipped, or failed where nothing may be missing."""
    text = f"no {what}: {way}"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _answers(process: "subprocess.Popen[bytes]", port: int, path: str) -> bool:
    """True once it answers a request; False when it ended, or takes too long."""
    end = time.monotonic() + READY
    while process.poll() is None and time.monotonic() < end:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return True
        except (OSError, HTTPException):
            time.sleep(0.05)
        finally:
            connection.close()
    return False
