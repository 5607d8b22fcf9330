"""Settings: where pipeline files, warehouse, state, bus and secrets are, how they are used, and who said so.

A setting is an option of the command line, else an environment variable, else a default that fits a fresh clone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Self

from phasegate.core.checks.metrics import MIN_BYTES_BILLED
from phasegate.errors import ConfigError, Problem

_PROJECT = r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]"
# What may follow a scheme. Source: Google Cloud's rules for project ids, for locations, and for Firestore database ids.
_RESTS = {
    "PATH": r".+",
    "PROJECT": _PROJECT,
    "PROJECT[/LOCATION]": rf"{_PROJECT}(/[A-Za-z]+(-[a-z0-9]+)*)?",
    "PROJECT/DATABASE": rf"{_PROJECT}/(\(default\)|[a-z][a-z0-9-]{{2,61}}[a-z0-9])",
    "PROJECT[/PREFIX]": rf"{_PROJECT}(/[a-z][a-z0-9-]{{2,13}}[a-z0-9])?",
    "": r"",
}
_SCHEMES: Mapping[str, Mapping[str, str]] = {
    "warehouse": {"duckdb": "PATH", "bigquery": "PROJECT[/LOCATION]"},
    "state": {"sqlite": "PATH", "firestore": "PROJECT/DATABASE"},
    "bus": {"local": "", "pubsub": "PROJECT[/PREFIX]"},
    "secrets": {"env": "", "folder": "PATH", "secretmanager": "PROJECT"},
}
# What else is written in one way only.
_WRITTEN = {
    "acknowledge_url": (
        r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?",
        "an address like https://gates.example.com/ack",
    ),
    "link_key": (r"secret://[A-Za-z0-9_-]+", "a reference like secret://link-key"),
}
OPTIONS = ("pipelines", "warehouse", "state", "bus")
"""The settings that are options of commands too; the others are the same for every command and function."""

DESCRIPTIONS: Mapping[str, str] = {
    "pipelines": "a pipeline file, or a folder of them",
    "warehouse": "`duckdb:PATH` (a file, or a folder of Parquet or CSV) or `bigquery:PROJECT[/LOCATION]`; "
    "jobs run in LOCATION (where the tables are)",
    "state": "`sqlite:PATH` or `firestore:PROJECT/DATABASE`",
    "bus": "`local:` or `pubsub:PROJECT[/PREFIX]`; names of topics begin with PREFIX (phasegate)",
    "secrets": "what `secret://NAME` of the pipeline file means: `env:` (the variable `PHASEGATE_SECRET_NAME`), "
    "`folder:PATH` (a file for each) or `secretmanager:PROJECT`",
    "acknowledge_url": "the public address of the function `acknowledge`, for the link in messages; without it they carry none",
    "link_key": "`secret://NAME`: the key that signs those links",
    "maximum_bytes_billed": "bytes that one query of BigQuery may be billed; one that would be billed more is refused",
}
"""What each setting is."""

_DEFAULTS: Mapping[str, str | None] = {
    "pipelines": "shared/pipelines",
    "warehouse": "duckdb:.phasegate/demo/warehouse.duckdb",
    "state": "sqlite:.phasegate/demo/state.sqlite",
    "bus": "local:",
    "secrets": "env:",
    "acknowledge_url": None,
    "link_key": None,
    "maximum_bytes_billed": str(100 * 2**30),
}


@dataclass(frozen=True, slots=True)
class Location:
    """Where an outside system is: `duckdb:warehouse.duckdb`, `firestore:my-project/gates`, `local:`."""

    scheme: str
    rest: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}:{self.rest}"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it was given.

    Args:
        value: None when it is not set.
        source: The option, the variable, `default`, or `not set`.
    """

    name: str
    value: str | None
    source: str

    @property
    def ways(self) -> str:
        """How to set it."""
        return f"set {f'{_option(self.name)} or ' if self.name in OPTIONS else ''}{_variable(self.name)}"


def _option(name: str) -> str:
    return f"--{name}"


def _variable(name: str) -> str:
    return f"PHASEGATE_{name.upper()}"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. Reading one that is not set is a ConfigError; no command needs them all.

    Args:
        given: Each setting once, as text, with its source: what `phasegate config env` prints.
        folder: Where relative paths begin.
    """

    entries: tuple[Setting, ...]
    folder: Path

    @classmethod
    def resolve(cls, options: Mapping[str, str | None], environ: Mapping[str, str], cwd: Path) -> Self:
        """Find every setting.

        Args:
            options: Values of the command line, by setting; None, or left out, where an option was not given.
            environ: The environment. A variable that is empty is not set.
            cwd: Where relative paths begin, and where defaults are looked for. `Path()` keeps them relative.

        Raises:
            ConfigError: At least one is wrong; carries a problem for each.
        """
        settings = cls(tuple(_find(name, options, environ, cwd) for name in _DEFAULTS), cwd)
        if problems := [problem for setting in settings.entries for problem in _problems(setting)]:
            raise ConfigError(problems=problems)
        return settings

    @property
    def pipelines(self) -> Path:
        """The pipeline file, or the folder of them."""
        return self.folder / self._value("pipelines")

    @property
    def warehouse(self) -> Location:
        """Where data is measured."""
        return self._location("warehouse")

    @property
    def state(self) -> Location:
        """Where gates are kept."""
        return self._location("state")

    @property
    def bus(self) -> Location:
        """Where messages are published."""
        return self._location("bus")

    @property
    def secrets(self) -> Location:
        """Where passwords, keys and webhooks' addresses are."""
        return self._location("secrets")

    @property
    def acknowledging(self) -> tuple[str, str] | None:
        """Where links to acknowledge lead, and the reference of the key that signs them; None when there are none."""
        entries = {setting.name: setting.value for setting in self.entries}
        address, key = entries["acknowledge_url"], entries["link_key"]
        return (address, key) if address and key else None

    @property
    def maximum_bytes_billed(self) -> int:
        """Bytes that one query may be billed."""
        return int(self._value("maximum_bytes_billed"))

    def require(self, *names: str) -> None:
        """Make sure that settings are set.

        Raises:
            ConfigError: Some are not; carries a problem for each.
        """
        missing = [setting for setting in self.entries if setting.name in names and setting.value is None]
        if missing:
            raise ConfigError(problems=[Problem(each.name, "expected a value", "nothing", each.ways) for each in missing])

    def _value(self, name: str) -> str:
        self.require(name)
        return next(setting.value or "" for setting in self.entries if setting.name == name)

    def _location(self, name: str) -> Location:
        scheme, _, rest = self._value(name).partition(":")
        on_disk = _SCHEMES[name][scheme] == "PATH" and rest != ":memory:"
        return Location(scheme, str(self.folder / rest) if on_disk else rest)


def _find(name: str, options: Mapping[str, str | None], environ: Mapping[str, str], cwd: Path) -> Setting:
    option, variable = options.get(name), environ.get(_variable(name))
    if option is not None:
        return Setting(name, option, _option(name))
    if variable:
        return Setting(name, variable, _variable(name))
    default = _DEFAULTS[name]
    if default is None:
        return Setting(name, None, "not set")
    # What a fresh clone has on disk counts only where it is there.
    missing = name in OPTIONS and not (cwd / default.rpartition(":")[2]).exists()
    return Setting(name, None, "not set") if missing else Setting(name, default, "default")


def _problems(setting: Setting) -> list[Problem]:
    schemes, value = _SCHEMES.get(setting.name), setting.value
    if value is None:
        return []
    if setting.name == "maximum_bytes_billed":
        expected = f"expected a whole number of bytes, at least {MIN_BYTES_BILLED}"
        enough = re.fullmatch(r"[0-9]{1,18}", value) and int(value) >= MIN_BYTES_BILLED
        return [] if enough else [Problem(setting.source, expected, f'"{value}"')]
    if setting.name in _WRITTEN:
        pattern, expected = _WRITTEN[setting.name]
        return [] if re.fullmatch(pattern, value) else [Problem(setting.source, f"expected {expected}")]
    if schemes is None:
        return [] if value else [Problem(setting.source, "expected a file or a folder", '""')]
    scheme, _, rest = value.partition(":")
    if ":" in value and scheme in schemes and re.fullmatch(_RESTS[schemes[scheme]], rest):
        return []
    close = [] if scheme in schemes else get_close_matches(scheme, schemes, n=1)
    forms = " or ".join(f"{known}:{form}" for known, form in schemes.items())
    return [Problem(setting.source, f"expected {forms}", f'"{value}"', f"did you mean {close[0]}?" if close else "")]
