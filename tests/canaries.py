"""Secrets of the tests, and the search for them in everything that a test leaves behind.

Every secret that a test needs comes from `canary`. After each phase of each test, its captured output and logs, its report with
the traceback, and the files in its folder are searched; a secret in one of them fails the test. Folders named `secrets`, where
tests put them on purpose, are skipped.
"""

import base64
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

MARK = "canary-5f0c71d2e98b"
"""Part of every secret in the tests."""


def canary(name: str) -> str:
    """A secret: a password, a key, or a part of an address."""
    return f"{MARK}-{name}"


def _encodings() -> tuple[bytes, ...]:
    """The mark in Base64 at each offset; its first and last characters are cut off, because they depend on what is around it."""
    shifted = (base64.b64encode(b"x" * n + MARK.encode()) for n in range(3))
    return (MARK.encode(), *(text[4:-4] for text in shifted))


MARKS = _encodings()


def holds(content: bytes | str) -> bool:
    """True when it contains a secret."""
    raw = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    return any(mark in raw for mark in MARKS)


def found(report: pytest.TestReport, folder: Path | None) -> Iterator[str]:
    """Where a test left a secret behind."""
    yield from (title for title, content in report.sections if holds(content))
    if holds(report.longreprtext):
        yield "the traceback"
    for parent, folders, files in os.walk(folder or "/nowhere"):
        folders[:] = [name for name in folders if name != "secrets"]
        for path in (Path(parent) / name for name in files):
            if path.is_file() and path.stat().st_size < 20_000_000 and holds(path.read_bytes()):
                yield str(path.relative_to(folder or "/"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that leaves a secret behind."""
    report = yield
    folder = getattr(item, "funcargs", {}).get("tmp_path") if report.when == "call" else None
    if places := list(found(report, folder)):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: a secret is left in {', '.join(places)}"
        report.sections.clear()
    return report
