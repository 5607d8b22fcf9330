"""Writes the source archive of all functions: the same sources give the same bytes on any machine, and the digest is the name.

    python infra/archive.py build/                      writes build/<SHA-256>.zip and prints the SHA-256
    python infra/archive.py build/ --pipelines my/folder

Cloud Functions builds every function from this one archive; the build variable `GOOGLE_FUNCTION_SOURCE`
(`functions/phase_monitor/main.py`) selects the file. Terraform deploys only when the name changes.

It needs only the standard library, so that a deployment can run it before anything is installed.
"""

import argparse
import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]

PACKAGE_FILES = frozenset({".py", ".json", ".html", ".css", ".js", ".svg"})
"""Suffixes of the package's files; other files in its folder are left out."""

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The time of every file: the earliest that a zip file can have."""

MODE = 0o100644 << 16
"""A regular file that everybody may read, in the form of a zip file's attributes."""


def sources(repo: Path, pipelines: Path) -> Mapping[str, bytes]:
    """Every file of the archive, by its name there.

    Args:
        repo: A checkout.
        pipelines: The folder of pipeline files to deploy.

    Raises:
        FileNotFoundError: A required part has no files.
    """
    package = (path for path in (repo / "shared/phasegate").rglob("*") if path.suffix in PACKAGE_FILES)
    parts = {
        "constraints.txt": [repo / "constraints.txt"],
        "functions": (repo / "functions").glob("*/main.py"),
        "shared": [repo / "shared/pyproject.toml", *package],
    }
    named = {part: {path.relative_to(repo).as_posix(): path.read_bytes() for path in paths} for part, paths in parts.items()}
    named["pipelines"] = {f"shared/pipelines/{path.name}": path.read_bytes() for path in pipelines.glob("[!.]*.yaml")}
    if missing := [part for part, files in named.items() if not files]:
        raise FileNotFoundError(f"nothing to deploy in {', '.join(missing)}")
    files = {name: content for part in named.values() for name, content in part.items()}
    return files | {"requirements.txt": _requirements((repo / "functions/requirements.txt").read_text(), files)}


def _requirements(written: str, files: Mapping[str, bytes]) -> bytes:
    """The archive's root requirements: those of the functions, with every version pinned, and a line with the sources' digest.

    Cloud Build caches installed packages for a day, by the text of this file alone. Without that line a change of ./shared would
    be built and reported as deployed, but the old code would run. Source: GoogleCloudPlatform/buildpacks, pkg/python/python.go.
    """
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return f"--constraint constraints.txt\n{written.rstrip()}\n# sources: sha256 {digest.hexdigest()}\n".encode()


def write(files: Mapping[str, bytes], folder: Path) -> str:
    """Write the archive to a folder; gives the SHA-256 of its bytes, which is also its name."""
    folder.mkdir(parents=True, exist_ok=True)
    unnamed = folder / f".{os.getpid()}.zip"
    # Not compressed: versions of zlib compress the same text differently.
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
    parser.add_argument("folder", type=Path, help="folder to write <SHA-256>.zip to")
    parser.add_argument("--pipelines", type=Path, default=REPO / "shared/pipelines", help="the pipeline files to deploy")
    options = parser.parse_args()
    print(write(sources(REPO, options.pipelines), options.folder))


if __name__ == "__main__":
    main()
