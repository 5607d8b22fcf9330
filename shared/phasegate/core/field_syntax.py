"""The text syntax of fields in the pipeline file: `7d`, `06:00 +1d`, `raw.flights`, `2013-12-24..2014-01-02`.

A field annotated with a `FieldSyntax` is text in the file and a parsed value in the model. The reader of the pipeline file
takes the parser from the annotation, the JSON Schema takes the pattern.
"""

import re
from calendar import monthrange
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from ipaddress import ip_address
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


@dataclass(frozen=True, slots=True)
class FieldSyntax:
    """How a value is written in the pipeline file.

    Args:
        parse: The value of a text; raises ValueError with what was expected.
        pattern: What an editor checks while typing (an ECMA regular expression).
        example: Shown in errors and in the JSON Schema.
    """

    parse: Callable[[str], Any]
    pattern: str
    example: str


@dataclass(frozen=True, slots=True)
class Between:
    """Inclusive bounds of a number in the pipeline file; None is open."""

    low: float | None = None
    high: float | None = None


EXACT = "\ue000"
"""Marks a text as the digits of a number that JSON can't carry."""


@dataclass(frozen=True, slots=True)
class Exact:
    """A number that is held exactly as the pipeline file has it, as int or Decimal; within inclusive bounds, None is open.

    Args:
        text: Text is allowed, too.
        boolean: True and false are allowed, too.
    """

    low: int | None = None
    high: int | None = None
    text: bool = False
    boolean: bool = False


class FieldNames(str):
    """The name of a message's field, and other names that it may have; messages are written with the first."""

    others: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str]) -> "FieldNames":
        """Several names for one thing; the first is how messages are written."""
        made = cls(names[0])
        made.others = tuple(names[1:])
        return made


@dataclass(frozen=True, slots=True)
class OneOrMore:
    """A name, or a list of names for the same thing: `[game_date, target_date]`."""


FieldName = Annotated[str, OneOrMore()]


@dataclass(frozen=True, slots=True)
class OneOrMany:
    """A value, or a list of such values."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A value written as a mapping with one key, its kind: `row_count: {at_least: 1}`."""


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = r"\d{4}-\d{2}-\d{2}"
_DURATION = r"\d{1,5}[smhd]"
_CLOCK = r"([01]\d|2[0-3]):[0-5]\d"


def parse_day(text: str) -> date:
    """A date in the format YYYY-MM-DD only."""
    if not re.fullmatch(_DAY, text, re.ASCII):
        raise ValueError("a date like 2013-02-08")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("a date that exists, like 2013-02-08") from None


def parse_duration(text: str) -> timedelta:
    """A whole number with a unit: 90s, 30m, 26h, 7d."""
    if not re.fullmatch(_DURATION, text, re.ASCII):
        raise ValueError("a duration like 90s, 30m, 4h or 7d")
    return timedelta(**{_UNITS[text[-1]]: int(text[:-1])})


@dataclass(frozen=True, slots=True)
class Span:
    """Dates from *first* to *last*, both included."""

    first: date
    last: date

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}..{self.last}"

    def days(self) -> tuple[date, ...]:
        """Every date of the span, in order."""
        return tuple(self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1))


def parse_span(text: str) -> Span:
    """A date, or two dates joined by `..`."""
    first, dots, last = text.partition("..")
    try:
        span = Span(parse_day(first), parse_day(last if dots else first))
    except ValueError:
        raise ValueError("a date like 2013-12-25 or a range like 2013-12-24..2014-01-02") from None
    if span.last < span.first:
        raise ValueError("a range with the earlier date first")
    return span


@dataclass(frozen=True, slots=True)
class Due:
    """The time by which a phase must be released.

    Either *at* a local time, *days* after the run date, or *after_release* of the phase *after*.
    """

    at: time | None = None
    days: int = 0
    after: str | None = None
    after_release: timedelta | None = None

    def __str__(self) -> str:
        if self.at is not None:
            return f"{self.at:%H:%M} +{self.days}d"
        assert self.after_release is not None
        return f"{int(self.after_release.total_seconds() // 60)}m after {self.after}"


_DUE = rf"{_CLOCK}( \+\d{{1,3}}d)?|{_DURATION} after [A-Za-z_]\w*"


def parse_due(text: str) -> Due:
    """`06:00 +1d` (local time, days after the run date) or `2h after raw`."""
    if not re.fullmatch(_DUE, text, re.ASCII):
        raise ValueError("a due time like 06:00 +1d or 2h after raw")
    if " after " in text:
        duration, _, phase = text.partition(" after ")
        return Due(after=phase, after_release=parse_duration(duration))
    clock, _, days = text.partition(" +")
    return Due(at=time.fromisoformat(clock), days=int(days.removesuffix("d") or 0))


def parse_weekdays(text: str) -> frozenset[int]:
    """Days of the week, Monday is 0: `mon-fri`, `sat,sun`, `fri-mon`."""
    days: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if first not in _WEEKDAYS or (last if dash else first) not in _WEEKDAYS:
            raise ValueError("week days like mon-fri or sat,sun")
        start, end = _WEEKDAYS.index(first), _WEEKDAYS.index(last or first)
        days.update((start + n) % 7 for n in range((end - start) % 7 + 1))
    return frozenset(days)


@dataclass(frozen=True, slots=True)
class Recurring:
    """Days that recur: of the week, of the month, or like the last Friday of the month.

    Args:
        text: As it is written.
        weekdays: Days of the week, Monday is 0.
        days: Days of the month; -1 is the last one.
        weeks: With *weekdays*: which of them in the month; -1 is the last one. Empty for every one.
    """

    text: str
    weekdays: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    weeks: frozenset[int] = frozenset()

    def __contains__(self, day: date) -> bool:
        last = monthrange(day.year, day.month)[1]
        if self.days:
            return day.day in self.days or (-1 in self.days and day.day == last)
        if day.weekday() not in self.weekdays:
            return False
        nth, is_last = (day.day - 1) // 7 + 1, day.day + 7 > last
        return not self.weeks or nth in self.weeks or (-1 in self.weeks and is_last)

    def __str__(self) -> str:
        return self.text


def parse_recurring(text: str) -> Recurring:
    """`mon`, `mon-fri`, `mon, thu`, `last_day_of_month`, `day 1, 15`, `first mon`, `last fri`."""
    words = text.strip().removeprefix("day ").replace(",", " ").split()
    if text.strip() == "last_day_of_month":
        return Recurring(text, days=frozenset({-1}))
    if text.strip().startswith("day ") and words and all(re.fullmatch(r"[1-9]|[12]\d|3[01]", word) for word in words):
        return Recurring(text, days=frozenset(map(int, words)))
    if len(words) == 2 and words[0] in _NTH and words[1] in _WEEKDAYS:
        return Recurring(text, frozenset({_WEEKDAYS.index(words[1])}), weeks=frozenset({_NTH[words[0]]}))
    try:
        return Recurring(text, parse_weekdays(text))
    except ValueError:
        raise ValueError("days like mon, mon-fri, last_day_of_month, day 1, 15, first mon or last fri") from None


_NTH = {"first": 1, "second": 2, "third": 3, "fourth": 4, "last": -1}


@dataclass(frozen=True, slots=True)
class Yearly:
    """A stretch of each year by month and day, both ends included; across New Year when the last is before the first."""

    first: tuple[int, int]
    last: tuple[int, int]

    def __contains__(self, day: date) -> bool:
        at = (day.month, day.day)
        if self.first <= self.last:
            return self.first <= at <= self.last
        return at >= self.first or at <= self.last


def parse_yearly(text: str) -> Yearly:
    """`04-01..09-30`, or `11-15..02-15` across New Year; `12-24` for a single day."""
    first, dots, last = text.partition("..")
    try:
        # In a leap year, so that 02-29 is a day.
        start, end = (date.fromisoformat(f"2024-{part}") for part in (first, last if dots else first))
    except ValueError:
        raise ValueError("days of a year like 04-01..09-30") from None
    return Yearly((start.month, start.day), (end.month, end.day))


def parse_daily(text: str) -> time:
    """`daily 08:00`: a local time on every day."""
    if not re.fullmatch(rf"daily {_CLOCK}", text, re.ASCII):
        raise ValueError("a time of each day like daily 08:00")
    return time.fromisoformat(text.removeprefix("daily "))


def parse_hours(text: str) -> tuple[time, time]:
    """`22:00-07:00`: local hours; past midnight when the first time is later than the second."""
    if not re.fullmatch(rf"{_CLOCK}-{_CLOCK}", text, re.ASCII):
        raise ValueError("hours like 22:00-07:00")
    first, _, last = text.partition("-")
    return time.fromisoformat(first), time.fromisoformat(last)


def parse_zone(text: str) -> str:
    """The IANA name of a time zone: `America/New_York`."""
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: `America` is a folder in the time zone database
        raise ValueError("a time zone like America/New_York") from None
    return text


_ALIASES = {
    **dict.fromkeys(("INT", "SMALLINT", "INTEGER", "BIGINT", "TINYINT", "BYTEINT"), "INT64"),
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
    "BOOLEAN": "BOOL",
    "RECORD": "STRUCT",
}
"""Source: GoogleSQL, Data types; RECORD is the name in BigQuery's console."""
_TYPES = "BIGNUMERIC BOOL BYTES DATE DATETIME FLOAT64 GEOGRAPHY INT64 INTERVAL JSON NUMERIC RANGE STRING STRUCT TIME TIMESTAMP"


def parse_type(text: str) -> str:
    """A GoogleSQL type by its usual name, without parameters; `ANY` is any type.

    >>> parse_type("integer"), parse_type("array<decimal>"), parse_type("any")
    ('INT64', 'ARRAY<NUMERIC>', 'ANY')
    """
    name = text.upper()
    if array := re.fullmatch(r"ARRAY<([A-Z0-9]+)>", name):
        return f"ARRAY<{parse_type(array[1])}>"
    name = _ALIASES.get(name, name)
    if name != "ANY" and name not in _TYPES.split():
        raise ValueError("a GoogleSQL type like INT64 or ARRAY<STRING>, without parameters and fields, or any")
    return name


def _matching(pattern: str, expected: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(expected)
        return text

    return parse


_DATASET = r"[A-Za-z0-9_]+"
_FORBIDDEN = r'!"$()*,./;?@\[\\\]^`{}~\x00-\x1f\x7f'  # fmt: skip
"""No column has these in its name, nor control characters. Source: BigQuery, "Flexible column names"."""
NAME = rf"[^\s{_FORBIDDEN}]([^{_FORBIDDEN}]{{0,298}}[^\s{_FORBIDDEN}])?"
"""The name of a column or table, as BigQuery allows it: also with spaces, umlauts, dashes, leading digits. SQL quotes it."""
_PROJECT = r"[a-z][a-z0-9-]{4,28}[a-z0-9]"
_TABLE = rf"({_PROJECT}\.)?{_DATASET}\.{NAME}"
_TABLES = rf"({_PROJECT}\.)?{_DATASET}\.([A-Za-z0-9_*]+|{NAME})"
_REFERENCE = r"secret://[A-Za-z0-9_-]+"
_HOST = r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_ADDRESS = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_SLUG = r"[a-z][a-z0-9_]{0,39}"

Day = Annotated[date, FieldSyntax(parse_day, rf"^{_DAY}$", "2013-02-08")]
Duration = Annotated[timedelta, FieldSyntax(parse_duration, rf"^{_DURATION}$", "7d")]
Dates = Annotated[Span, FieldSyntax(parse_span, rf"^{_DAY}(\.\.{_DAY})?$", "2013-12-24..2014-01-02")]
DueTime = Annotated[Due, FieldSyntax(parse_due, rf"^({_DUE})$", "06:00 +1d")]
Weekdays = Annotated[frozenset[int], FieldSyntax(parse_weekdays, r"^[a-z]{3}([-, ]+[a-z]{3})*$", "mon-fri")]
RecurringDays = Annotated[
    Recurring,
    FieldSyntax(
        parse_recurring,
        r"^([a-z]{3}([-, ]+[a-z]{3})*|last_day_of_month|day \d{1,2}(, ?\d{1,2})*|(first|second|third|fourth|last) [a-z]{3})$",
        "last_day_of_month",
    ),
]
YearlySpan = Annotated[Yearly, FieldSyntax(parse_yearly, r"^\d{2}-\d{2}(\.\.\d{2}-\d{2})?$", "04-01..09-30")]
Daily = Annotated[time, FieldSyntax(parse_daily, rf"^daily {_CLOCK}$", "daily 08:00")]
Hours = Annotated[tuple[time, time], FieldSyntax(parse_hours, rf"^{_CLOCK}-{_CLOCK}$", "22:00-07:00")]
Zone = Annotated[str, FieldSyntax(parse_zone, r"^[A-Za-z][\w+-]*(/[\w+-]+)*$", "America/New_York")]
Column = Annotated[str, FieldSyntax(_matching(NAME, "a column name"), rf"^{NAME}$", "flight_date")]
Table = Annotated[
    str,
    FieldSyntax(_matching(_TABLE, "a table name like dataset.table"), rf"^{_TABLE}$", "raw.flights"),
]
TableOrExpected = Annotated[
    str,
    FieldSyntax(
        _matching(rf"expected|{_TABLE}", "`expected` or a table name like dataset.table"),
        rf"^(expected|{_TABLE})$",
        "raw.flights",
    ),
]
Tables = Annotated[
    str,
    FieldSyntax(_matching(_TABLES, "a table, or several like raw.tmp_*"), rf"^{_TABLES}$", "raw.tmp_*"),
]
ColumnType = Annotated[str, FieldSyntax(parse_type, r"^[A-Za-z][A-Za-z0-9]*(<[A-Za-z0-9]+>)?$", "INT64")]
SecretReference = Annotated[
    str,
    FieldSyntax(_matching(_REFERENCE, "a reference like secret://chat-webhook"), rf"^{_REFERENCE}$", "secret://chat-webhook"),
]
Host = Annotated[str, FieldSyntax(_matching(_HOST, "a host like smtp.example.com"), rf"^{_HOST}$", "smtp.example.com")]
MailAddress = Annotated[
    str, FieldSyntax(_matching(_ADDRESS, "a mail address like data@example.com"), rf"^{_ADDRESS}$", "data@example.com")
]
Slug = Annotated[
    str, FieldSyntax(_matching(_SLUG, "a name of lower-case letters, digits and _, at most 40"), rf"^{_SLUG}$", "raw")
]
Share = Annotated[int | float | Decimal, Exact(0, 1)]
"""From 0 to 1, not a percentage."""


def is_loopback(host: str) -> bool:
    """True for a name or address of this machine itself, as far as it can be told without a lookup."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def place(*keys: str | int) -> str:
    """A path in the file as people write it: `phases.raw.outputs["raw.flights"].checks[0].row_count`."""
    text = ""
    for key in keys:
        if isinstance(key, int):
            text += f"[{key}]"
        elif re.fullmatch(r"\w+", key):
            text += f".{key}" if text else key
        else:
            text += f'["{key}"]'
    return text
