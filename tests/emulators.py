"""Google's emulators, run for the tests: the jars of the Google Cloud SDK, started with `java` itself.

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
"""A folder with the jars, at any depth; the SDK's own is found without it."""

REQUIRED = "PHASEGATE_REQUIRE_EMULATORS"
"""Set to 1, a missing emulator fails the tests that need it instead of skipping them."""

SDK = Path("/usr/lib/google-cloud-sdk")

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

    def command(self, jar: Path, port: int) -> Sequence[str]:
        """How it is started."""
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


def describe() -> str:
    """One line for the head of the report: which emulators there are."""
    found = []
    for emulator in (FIRESTORE, PUBSUB):
        host, jar = os.environ.get(emulator.host_variable), emulator.find()
        what = f"at {host}" if host else emulator.version(jar) if jar else "missing"
        found.append(f"{emulator.name} {what}")
    return f"emulators: {', '.join(found)}"


@contextmanager
def running(emulator: Emulator) -> Iterator[str]:
    """Where the emulator listens: the one that its variable names, or one that is started here and stopped at the end."""
    given = os.environ.get(emulator.host_variable)
    if given:
        yield given
        return
    with started(emulator) as host:
        yield host


@contextmanager
def started(emulator: Emulator) -> Iterator[str]:
    """Where an emulator of our own listens; it is stopped at the end, whatever happens."""
    jar = emulator.find()
    if jar is None:
        _missing(emulator)
    with tempfile.TemporaryFile() as output:
        port = _free_port()
        process = subprocess.Popen(emulator.command(jar, port), stdout=output, stderr=subprocess.STDOUT)  # noqa: S603
        try:
            if not _answers(process, port):
                output.seek(0)
                raise RuntimeError(f"{emulator.name} emulator did not start: {output.read()[-2000:].decode(errors='replace')}")
            yield f"127.0.0.1:{port}"
        finally:
            # Nothing in it is worth a clean end, and asking for one takes seconds.
            process.kill()
            process.wait()


def _missing(emulator: Emulator) -> NoReturn:
    way = f"gcloud components install {emulator.component}, with Java, or set {FOLDER} to a folder with its jar"
    text = f"no {emulator.name} emulator: {way}"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _answers(process: "subprocess.Popen[bytes]", port: int) -> bool:
    """True once it answers a request; False when it ended, or takes too long."""
    end = time.monotonic() + READY
    while process.poll() is None and time.monotonic() < end:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            if connection.getresponse().status == 200:
                return True
        except (OSError, HTTPException):
            time.sleep(0.05)
        finally:
            connection.close()
    return False
