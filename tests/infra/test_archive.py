"""The source archive of all functions: always the same bytes, only needed files, and every function starts from it."""

import fcntl
import hashlib
import re
import subprocess
import sys
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.serving import REPO, serving

PARTS = ("constraints.txt", "functions", "infra/archive.py", "shared")


def archive(folder: Path, repo: Path = REPO, *options: str) -> Path:
    """The archive that the command writes, found by the digest that it prints."""
    command = [sys.executable, str(repo / "infra/archive.py"), str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return folder / f"{done.stdout.strip()}.zip"


def tracked(*parts: str) -> dict[str, bytes]:
    """Files of the checkout that git tracks, or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *parts]
    names = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True).stdout.split()
    return {name: (REPO / name).read_bytes() for name in names if (REPO / name).exists()}


def checkout(folder: Path, mode: int) -> Path:
    """Another checkout: other times, modes and order on disk, and files that programs leave behind."""
    for name, content in reversed(tracked(*PARTS).items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
    for junk in ("shared/phasegate/__pycache__/a.cpython-311.pyc", "shared/phasegate/notes.txt", "shared/phasegate/.env",
                 "functions/phase_monitor/secret.json", "functions/phase_monitor/__pycache__/main.pyc",
                 "shared/build/lib/phasegate/old.py", "shared/pipelines/state.sqlite"):  # fmt: skip
        (folder / junk).parent.mkdir(parents=True, exist_ok=True)
        (folder / junk).write_text("x")
    return folder


def contents(path: Path) -> Mapping[str, bytes]:
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archive(tmp_path_factory.mktemp("built"))


def test_the_name_is_the_digest_of_the_bytes(built: Path) -> None:
    assert built.stem == hashlib.sha256(built.read_bytes()).hexdigest()
    assert [path.name for path in built.parent.iterdir()] == [built.name]


def test_the_same_sources_give_the_same_bytes_twice_and_on_other_checkouts(built: Path, tmp_path: Path) -> None:
    assert archive(tmp_path).read_bytes() == built.read_bytes()
    for mode in (0o600, 0o775):
        other = checkout(tmp_path / f"checkout {mode:o}", mode)
        assert archive(tmp_path / f"{mode:o}", other).read_bytes() == built.read_bytes()


def test_it_holds_only_what_is_needed(built: Path) -> None:
    written = {name: content for name, content in contents(built).items() if name != "requirements.txt"}
    needed = tracked(
        "constraints.txt", "functions/*/main.py", "shared/phasegate", "shared/pipelines/*.yaml", "shared/pyproject.toml"
    )
    assert written == {name: content for name, content in needed.items() if not name.endswith(".md")}
    with zipfile.ZipFile(built) as opened:
        entries = opened.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {(entry.date_time, entry.external_attr, entry.compress_type) for entry in entries} == {
        ((1980, 1, 1, 0, 0, 0), 0o100644 << 16, zipfile.ZIP_STORED)
    }


def test_every_python_file_in_it_compiles(built: Path) -> None:
    """Cloud Build compiles them all, and fails on the first that does not."""
    for name, content in contents(built).items():
        if name.endswith(".py"):
            compile(content, name, "exec")


@pytest.mark.parametrize("name", ["shared/phasegate/gates/monitor.py", "constraints.txt", "shared/pipelines/flights.yaml"])
def test_any_change_of_the_sources_changes_the_text_of_the_requirements(built: Path, tmp_path: Path, name: str) -> None:
    """Cloud Build caches installed packages by this text; otherwise it would use the old package."""
    changed = checkout(tmp_path / "checkout", 0o644)
    (changed / name).write_bytes((changed / name).read_bytes() + b"\n")
    other = archive(tmp_path / "out", changed)
    assert other.name != built.name
    before, after = (contents(path)["requirements.txt"].decode().splitlines() for path in (built, other))
    assert [line for line in before if line not in after] == [before[-1]]
    assert re.fullmatch(r"# sources: sha256 [0-9a-f]{64}", before[-1])


def test_another_folder_of_pipelines_replaces_the_default(tmp_path: Path) -> None:
    (tmp_path / "orders.yaml").write_text("pipeline: orders\n")
    (tmp_path / "README.md").write_text("not for the cloud")
    held = contents(archive(tmp_path / "out", REPO, "--pipelines", str(tmp_path)))
    assert [name for name in held if "pipelines" in name] == ["shared/pipelines/orders.yaml"]


@pytest.mark.parametrize("missing", ["functions/phase_monitor/main.py", "shared/pipelines/flights.yaml", "constraints.txt"])
def test_nothing_is_written_without_a_required_part(tmp_path: Path, missing: str) -> None:
    other = checkout(tmp_path / "checkout", 0o644)
    for path in other.glob(missing.replace("phase_monitor", "*").replace("flights", "*")):
        path.unlink()
    with pytest.raises(subprocess.CalledProcessError):
        archive(tmp_path / "out", other)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def unpacked(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(built) as opened:
        opened.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def clean(unpacked: Path, pytestconfig: pytest.Config) -> Iterator[Path]:
    """An environment with only the archive's requirements; cached for the next run of the tests."""
    pins = [(unpacked / name).read_bytes() for name in ("constraints.txt", "shared/pyproject.toml")]
    kept = pytestconfig.cache.mkdir("archive-" + hashlib.sha256(b"".join(pins)).hexdigest()[:12])  # type: ignore[union-attr]
    python = str(kept / "bin/python")
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept / "ready").exists():
            venv.create(kept, with_pip=True, clear=False)
            install(unpacked, python, "--requirement", "requirements.txt")
            (kept / "ready").touch()
        install(unpacked, python, "--no-deps", "--force-reinstall", "./shared")
        yield kept / "bin"


def install(cwd: Path, python: str, *what: str) -> None:
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_the_requirements_install_is_pinned_and_fits(clean: Path, unpacked: Path) -> None:
    python = str(clean / "python")
    subprocess.run([python, "-m", "pip", "check"], check=True)
    frozen = subprocess.run(
        [python, "-m", "pip", "freeze", "--exclude", "phasegate"], capture_output=True, text=True, check=True
    )
    pins = {line.lower().replace("_", "-") for line in (unpacked / "constraints.txt").read_text().split()}
    installed = {line.lower().replace("_", "-") for line in frozen.stdout.split()}
    assert installed and installed <= pins
    assert not any(line.startswith(("duckdb", "pandas", "pytest")) for line in installed)


@pytest.mark.parametrize("role", sorted(path.parent.name for path in (REPO / "functions").glob("*/main.py")))
def test_every_function_starts_from_it_and_answers(clean: Path, unpacked: Path, tmp_path: Path, role: str) -> None:
    """In a clean environment, with settings of the cloud for systems that these requests do not reach."""
    environ = {
        "PHASEGATE_WAREHOUSE": "bigquery:some-project",
        "PHASEGATE_STATE": f"sqlite:{tmp_path / 'state.sqlite'}",
        "PHASEGATE_BUS": "local:",
        "PYTHONPATH": "",
    }
    source = Path("functions") / role / "main.py"
    with serving(tmp_path, environ, source, target=role, bin=clean, cwd=unpacked) as address:
        status = posted(address, b"\xff no message of ours")
        assert status < 500, (tmp_path / "log").read_text()


def posted(address: str, body: bytes) -> int:
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_every_adapter_of_the_cloud_finds_its_client(clean: Path) -> None:
    code = "from phasegate.adapters import pubsub; from phasegate.adapters.state import firestore; from phasegate.adapters.warehouse import bigquery; import phasegate; print(phasegate.__file__)"
    done = subprocess.run([str(clean / "python"), "-c", code], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_relative_to(clean.parent), "not the checkout's"
