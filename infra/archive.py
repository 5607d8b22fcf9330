"""Write the source archive of all functions: the same bytes from the same sources, on any machine, named by their digest.

    python infra/archive.py build/                      prints the SHA-256, and leaves build/<SHA-256>.zip
    python infra/archive.py build/ --pipelines my/folder

Cloud Functions builds every function from this one archive; the build variable `GOOGLE_FUNCTION_SOURCE`
(`functions/phase_monitor/main.py`) picks the file. Terraform deploys when the name changes, and only then.

Nothing but the standard library is used, so that a deployment can build it before anything is installed.
"""

import argparse
import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]

PACKAGE_FILES = frozenset({".py", ".json", ".html", ".css", ".js", ".svg"})
"""What belongs to the package, by suffix; anything else in its folder is left out."""

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The time of every file; a zip file can't hold an earlier one."""

MODE = 0o100644 << 16
"""A regular file that everybody may read, where a zip file keeps it."""


def sources(repo: Path, pipelines: Path) -> Mapping[str, bytes]:
    """Everything that a function needs, by its name in the archive.

    Args:
        repo: A checkout.
        pipelines: The folder of pipeline files to deploy.

    Raises:
        FileNotFoundError: A part that no deployment can do without is missing.
    """
    package = (path for path in (repo / "shared/phasegate").rglob("*") if path.suffix in PACKAGE_FILES)
    parts = {
        "constraints.txt": [repo / "constraints.txt"],
        "functions": (repo / "functions").glob("*/main.py"),
        "shared": [repo / "shared/pyproject.toml", *package],
    }
    named = {part: {path.relative_to(repo).as_posix(): path.read_bytes() for path in paths} for part, paths in parts.items()}
    named["pipelines"] = {f"shared/pipelines/{path.name}": path.read_bytes() for path in pipelines.glob("*.yaml")}
    if missing := [part for part, files in named.items() if not files]:
        raise FileNotFoundError(f"nothing to deploy in {', '.join(missing)}")
    found = {name: content for files in named.values() for name, content in files.items()}
    return found | {"requirements.txt": _requirements((repo / "functions/requirements.txt").read_text(), found)}


def _requirements(written: str, files: Mapping[str, bytes]) -> bytes:
    """The archive's root requirements: what is written, with every version pinned, and a line that changes with the sources.

    Cloud Build keeps installed packages for a day by the text of this file alone: without that line a change of ./shared would
    be built, reported as deployed, and not be there. Source: GoogleCloudPlatform/buildpacks, pkg/python/python.go.
    """
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return f"--constraint constraints.txt\n{written.rstrip()}\n# sources: sha256 {digest.hexdigest()}\n".encode()


def write(files: Mapping[str, bytes], folder: Path) -> str:
    """Write the archive into a folder; gives the SHA-256 of its bytes, which is also its name."""
    folder.mkdir(parents=True, exist_ok=True)
    unnamed = folder / f".{os.getpid()}.zip"
    # Not compressed: what a compressor makes of the same text differs between versions of zlib.
    with zipfile.ZipFile(unnamed, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, EARLIEST)
            entry.create_system = 3
            entry.external_attr = MODE
            archive.writestr(entry, content)
    digest = hashlib.sha256(unnamed.read_bytes()).hexdigest()
    unnamed.replace(folder / f"{digest}.zip")
    return digest


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write the source archive of all functions; prints its SHA-256.")
    parser.add_argument("folder", type=Path, help="where it is written, as <SHA-256>.zip")
    parser.add_argument("--pipelines", type=Path, default=REPO / "shared/pipelines", help="the pipeline files to deploy")
    given = parser.parse_args()
    print(write(sources(REPO, given.pipelines), given.folder))


if __name__ == "__main__":
    main()
