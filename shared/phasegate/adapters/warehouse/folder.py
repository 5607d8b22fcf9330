"""A folder of files as a warehouse: which files are a table, and how DuckDB reads them.

`DATASET/TABLE.parquet` is a table, and so are all finished data files below `DATASET/TABLE/`. Names that begin with a dot or an
underscore are not data: writers use them for files that are not finished (`_temporary`) and for marks (`_SUCCESS`).
"""

import glob
import gzip
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from phasegate.core.field_syntax import NAME

FORMATS = {
    ".parquet": "read_parquet",
    ".csv": "read_csv",
    ".csv.gz": "read_csv",
    ".json": "read_json",
    ".jsonl": "read_json",
    ".ndjson": "read_json",
    ".json.gz": "read_json",
    ".jsonl.gz": "read_json",
    ".ndjson.gz": "read_json",
}
"""DuckDB's function for each ending, in lower case."""

_LONGEST_HEADER = 64 * 1024
"""Bytes; a longer file has rows."""

_OPTIONS = {
    "read_parquet": "",
    # Only ISO dates: 02/05/2024 is two dates, and which one would depend on the other rows of the file.
    "read_csv": ", header = true, dateformat = '%Y-%m-%d'",
    "read_json": "",
}


@dataclass(frozen=True, slots=True)
class FolderTable:
    """A table of a folder.

    Args:
        files: Its finished data files; at least one.
        below: The folder that they are in; None for a table that is a single file.
    """

    dataset: str
    name: str
    files: tuple[Path, ...]
    below: Path | None = None

    @property
    def full_name(self) -> str:
        """As checks name it."""
        return f"{self.dataset}.{self.name}"

    @property
    def path(self) -> Path:
        """Where it is: a folder, or a single file."""
        return self.below or self.files[0]

    @property
    def readers(self) -> Sequence[str]:
        """DuckDB's functions for its files, each once."""
        return tuple(dict.fromkeys(FORMATS[_ending(path)] for path in self.files))

    @property
    def problem(self) -> str:
        """Why it cannot be read at all; empty when it can."""
        if self.below is not None and (self.below / "_delta_log").is_dir():
            return "it is a Delta table, whose files also hold rows that it has deleted"
        if self.below is not None and any((self.below / "metadata").glob("*.metadata.json")):
            return "it is an Iceberg table, whose files also hold rows that it has deleted"
        if len(self.readers) < 2:
            return ""
        first = {reader: next(path.name for path in self.files if FORMATS[_ending(path)] == reader) for reader in self.readers}
        return f"its folder has files of several formats: {' and '.join(first.values())}"

    @property
    def source(self) -> str:
        """The call that reads it, as SQL."""
        (reader,) = self.readers
        # A path is taken literally, not for a pattern.
        files = ", ".join(_quoted(glob.escape(str(path))) for path in self.files)
        # Schemas change over the years: columns are matched by name, and get the widest type.
        return f"{reader}([{files}], union_by_name = true, hive_partitioning = {str(self.is_hive).lower()}{_OPTIONS[reader]})"

    @property
    def is_hive(self) -> bool:
        """True when the folders between the table and its files are keys like `day=2024-02-05`."""
        if self.below is None:
            return False
        return all(any("=" in part for part in path.relative_to(self.below).parts[:-1]) for path in self.files)

    @property
    def is_only_header(self) -> bool:
        """True when all of its CSV files have a header and no row."""
        return self.is_csv and all(map(_has_only_header, self.files))

    @property
    def is_csv(self) -> bool:
        """True for a table of CSV files."""
        return self.readers == ("read_csv",)


def tables(folder: Path) -> Iterator[FolderTable]:
    """The tables of a folder, by dataset and name; one that exists as two files, or as a file and a folder, comes twice."""
    for dataset in sorted(path for path in folder.iterdir() if path.is_dir() and _is_table_name(path.name)):
        for path in sorted(path for path in dataset.iterdir() if _is_data(path)):
            if path.is_dir():
                files = tuple(sorted(_data_files(path)))
                if files and _is_table_name(path.name):
                    yield FolderTable(dataset.name, path.name, files, path)
            elif (ending := _ending(path)) and _is_table_name(name := path.name[: -len(ending)]):
                yield FolderTable(dataset.name, name, (path,))


def _data_files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if _is_data(path):
            if path.is_dir():
                yield from _data_files(path)
            elif _ending(path):
                yield path


def _has_only_header(path: Path) -> bool:
    with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
        start = file.read(_LONGEST_HEADER)
    return len(start) < _LONGEST_HEADER and len(start.strip().splitlines()) == 1


def _is_data(path: Path) -> bool:
    return not path.name.startswith((".", "_"))


def _ending(path: Path) -> str:
    """The ending of a data file, in lower case; empty for any other file."""
    name = path.name.lower()
    return max((ending for ending in FORMATS if name.endswith(ending) and name != ending), key=len, default="")


def _is_table_name(text: str) -> bool:
    return re.fullmatch(NAME, text) is not None and not text.startswith((".", "_"))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
