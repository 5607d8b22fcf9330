"""Settings: where pipeline files, warehouse, state and bus are, and who said so.

A setting is an option of the command line, else an environment variable, else a default that fits a fresh clone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Self

from phasegate.errors import ConfigError, Problem

_PROJECT = r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]"
# What may follow a scheme. Source: Google Cloud's rules for project ids and for Firestore database ids.
_RESTS = {
    "PATH": r".+",
    "PROJECT": _PROJECT,
    "PROJECT/DATABASE": rf"{_PROJECT}/(\(default\)|[a-z][a-z0-9-]{{2,61}}[a-z0-9])",
    "PROJECT[/PREFIX]": rf"{_PROJECT}(/[a-z][a-z0-9-]{{2,13}}[a-z0-9])?",
    "": r"",
}
_SCHEMES: Mapping[str, Mapping[str, str]] = {
    "warehouse": {"duckdb": "PATH", "bigquery": "PROJECT"},
    "state": {"sqlite": "PATH", "firestore": "PROJECT/DATABASE"},
    "bus": {"local": "", "pubsub": "PROJECT[/PREFIX]"},
}
DESCRIPTIONS: Mapping[str, str] = {
    "pipelines": "a pipeline file, or a folder of them",
    "warehouse": "`duckdb:PATH` (a file, or a folder of Parquet or CSV) or `bigquery:PROJECT`",
    "state": "`sqlite:PATH` or `firestore:PROJECT/DATABASE`",
    "bus": "`local:` or `pubsub:PROJECT[/PREFIX]`; names of topics begin with PREFIX (phasegate)",
}
"""What each setting is."""

_DEFAULTS = {
    "pipelines": "shared/pipelines",
    "warehouse": "duckdb:.phasegate/demo/warehouse.duckdb",
    "state": "sqlite:.phasegate/demo/state.sqlite",
    "bus": "local:",
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
        return f"set {_option(self.name)} or {_variable(self.name)}"


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

    given: tuple[Setting, ...]
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
        if problems := [problem for setting in settings.given for problem in _problems(setting)]:
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

    def require(self, *names: str) -> None:
        """Make sure that settings are set.

        Raises:
            ConfigError: Some are not; carries a problem for each.
        """
        missing = [setting for setting in self.given if setting.name in names and setting.value is None]
        if missing:
            raise ConfigError(problems=[Problem(each.name, "expected a value", "nothing", each.ways) for each in missing])

    def _value(self, name: str) -> str:
        self.require(name)
        return next(setting.value or "" for setting in self.given if setting.name == name)

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
    *_, path = default.split(":")
    return Setting(name, default, "default") if (cwd / path).exists() else Setting(name, None, "not set")


def _problems(setting: Setting) -> list[Problem]:
    schemes, value = _SCHEMES.get(setting.name), setting.value
    if value is None:
        return []
    if schemes is None:
        return [] if value else [Problem(setting.source, "expected a file or a folder", '""')]
    scheme, _, rest = value.partition(":")
    if ":" in value and scheme in schemes and re.fullmatch(_RESTS[schemes[scheme]], rest):
        return []
    close = [] if scheme in schemes else get_close_matches(scheme, schemes, n=1)
    forms = " or ".join(f"{known}:{form}" for known, form in schemes.items())
    return [Problem(setting.source, f"expected {forms}", f'"{value}"', f"did you mean {close[0]}?" if close else "")]
