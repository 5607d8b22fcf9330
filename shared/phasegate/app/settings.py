"""Settings: where pipeline files, warehouse, state, bus and secrets are, and where each setting came from.

A setting comes from a command-line option, else from an environment variable, else from a default that fits a fresh clone.
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
_FORMS = {
    "PATH": r".+",
    "PROJECT": _PROJECT,
    "PROJECT[/LOCATION]": rf"{_PROJECT}(/[A-Za-z]+(-[a-z0-9]+)*)?",
    "PROJECT/DATABASE": rf"{_PROJECT}/(\(default\)|[a-z][a-z0-9-]{{2,61}}[a-z0-9])",
    "PROJECT[/PREFIX]": rf"{_PROJECT}(/[a-z][a-z0-9-]{{2,13}}[a-z0-9])?",
    "": r"",
}
"""What may follow a scheme. Source: Google Cloud's rules for project ids, for locations, and for Firestore database ids."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to set a location.

    Args:
        form: What follows the scheme; a key of `_FORMS`.
        note: Shown behind it in the help.
        is_shared: Several people and machines use what is there, so credentials, not login names, say who acts.
    """

    form: str
    note: str = ""
    is_shared: bool = False

    @property
    def is_on_disk(self) -> bool:
        """True when a path follows, which is relative to the settings' folder."""
        return self.form == "PATH"


SCHEMES: Mapping[str, Mapping[str, Scheme]] = {
    "warehouse": {
        "duckdb": Scheme("PATH", note="a file, or a folder of Parquet, CSV or JSON"),
        "bigquery": Scheme("PROJECT[/LOCATION]", is_shared=True),
    },
    "state": {"sqlite": Scheme("PATH"), "firestore": Scheme("PROJECT/DATABASE", is_shared=True)},
    "bus": {"local": Scheme(""), "pubsub": Scheme("PROJECT[/PREFIX]", is_shared=True)},
    "secrets": {
        "env": Scheme("", note="the variable `PHASEGATE_SECRET_NAME`"),
        "folder": Scheme("PATH", note="one file per secret"),
        "secretmanager": Scheme("PROJECT", is_shared=True),
    },
}
"""Every warehouse, state store, bus and place of secrets. `FACTORIES` in `app/wiring.py` has what makes each of them."""

# Settings that are checked against a pattern, with the expected form for the error.
_PATTERNS = {
    "acknowledge_url": (
        r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?",
        "an address like https://gates.example.com/ack",
    ),
    "link_key": (r"secret://[A-Za-z0-9_-]+", "a reference like secret://link-key"),
}
OPTIONS = ("pipelines", "warehouse", "state", "bus")
"""Settings that are also command-line options. The others are the same for every command and function."""


def _alternatives(name: str) -> str:
    """The ways to set a location, for the help: `` `sqlite:PATH` or `firestore:PROJECT/DATABASE` ``."""
    ways = [f"`{scheme}:{way.form}`{f' ({way.note})' if way.note else ''}" for scheme, way in SCHEMES[name].items()]
    return f"{', '.join(ways[:-1])} or {ways[-1]}"


DESCRIPTIONS: Mapping[str, str] = {
    "pipelines": "a pipeline file, or a folder of pipeline files",
    "warehouse": f"{_alternatives('warehouse')}; jobs run in LOCATION (default: where the tables are)",
    "state": _alternatives("state"),
    "bus": f"{_alternatives('bus')}; topic names start with PREFIX (default: phasegate)",
    "secrets": f"where `secret://NAME` in a pipeline file is looked up: {_alternatives('secrets')}",
    "acknowledge_url": "the public address of the function `acknowledge`, for links in alerts; without it there are none",
    "link_key": "`secret://NAME`: the key that signs these links",
    "maximum_bytes_billed": "the most bytes that one BigQuery query may be billed; a larger query is refused",
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
    address: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}:{self.address}"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting and where it came from.

    Args:
        value: None when it is not set.
        source: The option or variable that set it, `default`, or `not set`.
    """

    name: str
    value: str | None
    source: str

    @property
    def how_to_set(self) -> str:
        """What to do when it is missing."""
        return f"set {f'{_option(self.name)} or ' if self.name in OPTIONS else ''}{_variable(self.name)}"


def _option(name: str) -> str:
    return f"--{name}"


def _variable(name: str) -> str:
    return f"PHASEGATE_{name.upper()}"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. Reading one that is not set raises a ConfigError; no command needs them all.

    Args:
        entries: Each setting once, as text, with its source, as `phasegate config env` prints them.
        folder: Relative paths start here.
    """

    entries: tuple[Setting, ...]
    folder: Path

    @classmethod
    def resolve(cls, options: Mapping[str, str | None], environ: Mapping[str, str], cwd: Path) -> Self:
        """Find and check every setting.

        Args:
            options: Values from the command line, by setting; None or absent for an option that was not used.
            environ: The environment. An empty variable counts as not set.
            cwd: Relative paths start here, and defaults must exist here. `Path()` keeps paths relative.

        Raises:
            ConfigError: At least one is wrong; carries a problem for each.
        """
        settings = cls(tuple(_find(name, options, environ, cwd) for name in _DEFAULTS), cwd)
        if problems := [problem for setting in settings.entries for problem in _problems(setting)]:
            raise ConfigError(problems=problems)
        return settings

    @property
    def pipelines(self) -> Path:
        """The pipeline file, or the folder of pipeline files."""
        return self.folder / self._value("pipelines")

    @property
    def warehouse(self) -> Location:
        """Where data is measured."""
        return self._location("warehouse")

    @property
    def state(self) -> Location:
        """Where gates are stored."""
        return self._location("state")

    @property
    def bus(self) -> Location:
        """Where messages are published."""
        return self._location("bus")

    @property
    def secrets(self) -> Location:
        """Where passwords, keys and webhook addresses are."""
        return self._location("secrets")

    @property
    def ack_link(self) -> tuple[str, str] | None:
        """The address of the page behind acknowledge links, and the reference of their signing key; None without either."""
        values = {setting.name: setting.value for setting in self.entries}
        address, key = values["acknowledge_url"], values["link_key"]
        return (address, key) if address and key else None

    @property
    def maximum_bytes_billed(self) -> int:
        """The most bytes that one BigQuery query may be billed."""
        return int(self._value("maximum_bytes_billed"))

    @property
    def has_shared_state(self) -> bool:
        """True when several people and machines use the state store."""
        return SCHEMES["state"][self.state.scheme].is_shared

    @property
    def state_path(self) -> Path | None:
        """The file of the state store; None for a store that is not on disk."""
        return Path(self.state.address) if SCHEMES["state"][self.state.scheme].is_on_disk else None

    def has(self, name: str) -> bool:
        """True when a setting has a value."""
        return any(setting.name == name and setting.value is not None for setting in self.entries)

    def require(self, *names: str) -> None:
        """Check that settings have a value.

        Raises:
            ConfigError: Some have none; carries a problem for each.
        """
        missing = [setting for setting in self.entries if setting.name in names and setting.value is None]
        if missing:
            raise ConfigError(problems=[Problem(one.name, "expected a value", "nothing", one.how_to_set) for one in missing])

    def _value(self, name: str) -> str:
        self.require(name)
        return next(setting.value or "" for setting in self.entries if setting.name == name)

    def _location(self, name: str) -> Location:
        scheme, _, address = self._value(name).partition(":")
        # SQLite's name for "not in a file" is no path.
        if SCHEMES[name][scheme].is_on_disk and address != ":memory:":
            address = str(self.folder / address)
        return Location(scheme, address)


def _find(name: str, options: Mapping[str, str | None], environ: Mapping[str, str], cwd: Path) -> Setting:
    option, variable = options.get(name), environ.get(_variable(name))
    if option is not None:
        return Setting(name, option, _option(name))
    if variable:
        return Setting(name, variable, _variable(name))
    default = _DEFAULTS[name]
    if default is None:
        return Setting(name, None, "not set")
    # The defaults name the demo's files; without them the setting counts as not set, so that errors say how to set it.
    missing = name in OPTIONS and not (cwd / default.rpartition(":")[2]).exists()
    return Setting(name, None, "not set") if missing else Setting(name, default, "default")


def _problems(setting: Setting) -> list[Problem]:
    value = setting.value
    if value is None:
        return []
    if setting.name in SCHEMES:
        return _location_problems(setting, value)
    if setting.name == "maximum_bytes_billed":
        expected = f"expected a whole number of bytes, at least {MIN_BYTES_BILLED}"
        enough = re.fullmatch(r"[0-9]{1,18}", value) and int(value) >= MIN_BYTES_BILLED
        return [] if enough else [Problem(setting.source, expected, f'"{value}"')]
    if setting.name in _PATTERNS:
        pattern, expected = _PATTERNS[setting.name]
        return [] if re.fullmatch(pattern, value) else [Problem(setting.source, f"expected {expected}")]
    return [] if value else [Problem(setting.source, "expected a file or a folder", '""')]


def _location_problems(setting: Setting, value: str) -> list[Problem]:
    schemes = SCHEMES[setting.name]
    scheme, _, address = value.partition(":")
    if ":" in value and scheme in schemes and re.fullmatch(_FORMS[schemes[scheme].form], address):
        return []
    close = [] if scheme in schemes else get_close_matches(scheme, schemes, n=1)
    forms = " or ".join(f"{name}:{way.form}" for name, way in schemes.items())
    return [Problem(setting.source, f"expected {forms}", f'"{value}"', f"did you mean {close[0]}?" if close else "")]
