"""Installations for several tests; each is applied once per worker."""

from pathlib import Path

import pytest

from tests.terraform import PIPELINES, Module

PHASES, TABLES = 12, 40
REPOSITORY = {
    "connection": "projects/demo-project/locations/us-central1/connections/code/repositories/pipelines",
    "settings": "production.tfvars",
}


def write_large(folder: Path) -> Path:
    """A pipeline of 12 phases in a row, with 40 tables and, unlike the demo's, with secrets."""
    folder.mkdir()
    lines = ["pipeline: large", "calendar: {from: 2026-01-01}", "phases:"]
    for number in range(PHASES):
        lines += [f"  p{number:02}:", f"    after: [p{number - 1:02}]" if number else "    due: 06:00 +1d"]
        lines += ["    retry: {attempts: 3}"] if number % 3 == 0 else []
        lines += ["    outputs:"]
        lines += [f"      stage{number % 4}.t{table:02}: {{date: d}}" for table in range(number, TABLES, PHASES)]
    lines += ["alerts:", "  destinations:"]
    lines += ["    chat: {kind: google_chat, webhook: secret://chat-webhook}"]
    lines += ["    hook: {kind: webhook, webhook: secret://hook, signing_key: secret://hook-key}"]
    lines += ["  routes:", "    - {to: [chat, hook]}"]
    (folder / "large.yaml").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def large_pipelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the large pipeline's file."""
    return write_large(tmp_path_factory.mktemp("large") / "pipelines")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Module:
    """The demo pipeline, applied, with Cloud Build."""
    module = Module.copy(tmp_path_factory.mktemp("demo"), pipelines=PIPELINES, repository=REPOSITORY)
    module.apply()
    return module


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory, large_pipelines: Path) -> Module:
    """The large pipeline, applied with every option."""
    module = Module.copy(
        tmp_path_factory.mktemp("installation"),
        pipelines=large_pipelines,
        repository=REPOSITORY,
        prefix="gates",
        access={
            "acknowledge": ["group:on-call@example.com"],
            "consumers": {"large/p00": ["group:data@example.com"]},
            "preflight": ["serviceAccount:jobs@demo-project.iam.gserviceaccount.com"],
            "publishers": {"large/p00": ["serviceAccount:jobs@demo-project.iam.gserviceaccount.com"]},
        },
        alerting={"email_to": ["data@example.com"]},
        existing_topics={"large/p01": "projects/other/topics/done", "builds": "projects/demo-project/topics/cloud-builds"},
        labels={"team": "data"},
        warehouse={"create_datasets": True, "datasets": ["other-project.shop"]},
    )
    module.apply()
    return module
