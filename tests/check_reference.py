"""Random small tables with random checks, and what each check says of them in plain Python. Shares no code with phasegate.

A table is a list of rows, a check is what the pipeline file says. `outcome` reads like the README's table of kinds.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

Row = Mapping[str, Any]
Check = dict[str, dict[str, Any]]

DAYS = [date(2024, 2, 4), date(2024, 2, 5), date(2024, 2, 6)]
BIG = 2**53
COLUMNS = {
    "day": "DATE",
    "i": "BIGINT",
    "f": "DOUBLE",
    "d": "DECIMAL(24,3)",
    "s": "VARCHAR",
    "t": "TIMESTAMPTZ",
}
VALUES: Mapping[str, Sequence[Any]] = {
    "i": [None, 0, 1, 2, 3, -7, BIG - 2, BIG - 1, BIG, BIG + 1, BIG + 2, 2**63 - 1, -(2**63)],
    "f": [None, 0.0, 0.1, 0.5, 1.0, 3.0, math.nan, math.inf, -math.inf, float(BIG - 1), float(BIG), float(BIG + 2), 1e300],
    "d": [None, *map(Decimal, ("0.100", "0.500", "1.000", "3.000", "-7.125", str(BIG), f"{BIG + 1}.001", f"{2**60}.999"))],
    "s": [None, "", "a", "b", "ab", "B"],
    "t": [None, *(datetime(2024, 2, day, hour) for day in (4, 5, 6) for hour in (0, 5, 23))],
}
BOUNDS: Mapping[str, Sequence[str]] = {
    "i": ["0", "1", "2.5", "3", str(BIG - 1), str(BIG), str(BIG + 1), f"{BIG}.5", str(2**63), "-1e30"],
    "f": ["0", "0.1", "0.5", "1", "3.0", str(BIG - 1), str(BIG), str(BIG + 1), "1e300", "-1e30", str(10**320 // 10**10)],
    "d": ["0", "0.1", "0.1001", "0.5", "1", str(BIG), f"{BIG + 1}.001", f"{BIG + 1}.0011", f"{2**60}.999", str(2**60 + 1)],
}


def a_table(dice: random.Random, most: int = 6) -> list[Row]:
    """Rows on three dates, on none, or on no date at all."""
    days = dice.sample([*DAYS, None], dice.randint(1, 4))
    kept = {column: dice.sample(values, min(len(values), dice.choice((1, 2, 4, 20)))) for column, values in VALUES.items()}
    return [
        {"day": dice.choice(days), **{column: dice.choice(values) for column, values in kept.items()}}
        for _ in range(dice.randint(0, most))
    ]


def a_check(dice: random.Random) -> Check:
    """Any kind, with any of its keys."""
    kind = dice.choice([*KINDS])
    said = KINDS[kind][0](dice)
    if kind in SHARES:
        said |= _maybe(dice, at_most=dice.choice(("0.5", "0.25", "0.3333333333333333", "1")))
    if kind not in ("coverage", "sql", "schema") and dice.random() < 0.3:
        said["where"] = dice.choice([*WHERE])
    return {kind: said}


def outcomes(checks: Sequence[Check], rows: Sequence[Row], other: Sequence[Row], day: date) -> list[str]:
    """What the checks of a table say of a date; missing rows fail one count of them, and nothing else then."""
    alone = [outcome(check, rows, other, day) for check in checks]
    if any(row["day"] == day for row in rows):
        return alone
    counts = [n for n, check in enumerate(checks) if _counts_all(check) and alone[n] == "failed"]
    return [said if not counts or n == counts[0] else "not_evaluated" for n, said in enumerate(alone)]


def _counts_all(check: Check) -> bool:
    keys = {*check.get("row_count", {})}
    return bool(keys & {"between", "at_least", "above"}) and not keys & {"where", "per"}


def outcome(check: Check, rows: Sequence[Row], other: Sequence[Row], day: date) -> str:
    """What a check says of a date by itself: passed, failed or not_evaluated."""
    ((kind, said),) = check.items()
    here = [row for row in rows if row["day"] == day]
    there = [row for row in other if row["day"] == day]
    kept = [row for row in here if WHERE[said["where"]](row)] if "where" in said else here
    found = KINDS[kind][1](said, kept, there, here, rows)
    return "not_evaluated" if found is None else "passed" if found else "failed"


# Numbers.


def exact(value: Any) -> Fraction | float:
    """The number that is written; what is not finite stays."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return value
        return Fraction(value) if value == math.floor(value) else Fraction(repr(value))
    return Fraction(value)


def within(value: Any, said: Mapping[str, Any]) -> bool:
    """Between all bounds; NaN is between none."""
    low, high = said.get("between", (None, None))
    number = exact(value)
    if number != number:
        return False
    return (
        all(number >= Fraction(bound) for bound in (low, said.get("at_least"), said.get("min")) if bound is not None)
        and all(number <= Fraction(bound) for bound in (high, said.get("at_most"), said.get("max")) if bound is not None)
        and all(number > Fraction(said["above"]) for _ in [0] if "above" in said)
        and all(number < Fraction(said["below"]) for _ in [0] if "below" in said)
    )


def share(bad: int, of: int, said: Mapping[str, Any]) -> bool | None:
    """At most so many of all; of nothing there is no share."""
    return Fraction(bad, of) <= Fraction(said.get("at_most", "0")) if of else None


def _maybe(dice: random.Random, **said: Any) -> dict[str, Any]:
    return said if dice.random() < 0.4 else {}


def _bounds(dice: random.Random, numbers: Sequence[str]) -> dict[str, Any]:
    low, high = sorted((dice.choice(numbers), dice.choice(numbers)), key=Fraction)
    ways: list[dict[str, Any]] = [
        {"between": [low, high]},
        {"at_least": low},
        {"at_most": high},
        {"above": low},
        {"below": high},
    ]
    return dict(dice.choice(ways))


def _surplus(rows: Sequence[Row], columns: Sequence[str]) -> int:
    keys = Counter(_key(row, columns) for row in rows if all(row[column] is not None for column in columns))
    return sum(keys.values()) - len(keys)


def _key(row: Row, columns: Sequence[str]) -> tuple[Any, ...]:
    return tuple("NaN" if row[column] != row[column] else row[column] for column in columns)


# The kinds: how a check is made up, and when it passes.

WHERE: Mapping[str, Callable[[Row], bool]] = {
    "i > 1": lambda row: row["i"] is not None and row["i"] > 1,
    "s = 'a'": lambda row: row["s"] == "a",
    "d IS NOT NULL AND s <> 'b'": lambda row: row["d"] is not None and row["s"] not in (None, "b"),
    "i < -99 AND i > 99": lambda _: False,
}
SHARES = ("not_null", "accepted_values", "in_range", "matches", "invariant", "references")
SMALL = ["0", "1", "2", "2.0", "3", "0.5"]


def _row_count(said: Row, kept: Sequence[Row], there: Sequence[Row], *_: Any) -> bool | None:
    if "per" not in said:
        return within(len(kept), said)
    if not there:
        return False if kept else None
    return within(Fraction(len(kept), len(there)), said)


def _in_range(dice: random.Random) -> dict[str, Any]:
    column = dice.choice([*BOUNDS])
    low, high = sorted((dice.choice(BOUNDS[column]), dice.choice(BOUNDS[column])), key=Fraction)
    lower, upper = dice.choice(("min", "above")), dice.choice(("max", "below"))
    both = {lower: low, upper: high} if Fraction(low) < Fraction(high) else {"min": low, "max": high}
    return {"column": column, **dice.choice(({lower: low}, {upper: high}, both))}


def _accepted(dice: random.Random) -> dict[str, Any]:
    column = dice.choice(("i", "f", "d", "s"))
    return {"column": column, "values": dice.sample(["a", "ab", ""] if column == "s" else BOUNDS[column], 3)}


def _is_accepted(said: Row, value: Any) -> bool:
    if value is None:
        return True
    return value in said["values"] if said["column"] == "s" else exact(value) in [Fraction(each) for each in said["values"]]


AGGREGATES: Mapping[str, Callable[[Sequence[Row]], Any]] = {
    "COUNT(*)": len,
    "COUNT(i)": lambda rows: sum(row["i"] is not None for row in rows),
    "COUNT(DISTINCT s)": lambda rows: len({row["s"] for row in rows} - {None}),
    "COUNTIF(i > 1)": lambda rows: sum(row["i"] is not None and row["i"] > 1 for row in rows),
    "COUNT(*) - COUNT(DISTINCT i)": lambda rows: len(rows) - len({row["i"] for row in rows} - {None}),
    "COALESCE(SUM(i), 0)": lambda rows: sum(row["i"] or 0 for row in rows),
    "SUM(i)": lambda rows: sum(values) if (values := _all(rows, "i")) else None,
    "MAX(d)": lambda rows: max(_all(rows, "d"), default=None),
    "MIN(i)": lambda rows: min(_all(rows, "i"), default=None),
}


def _all(rows: Sequence[Row], column: str) -> list[Any]:
    return [row[column] for row in rows if row[column] is not None]


def _aggregate(said: Row, kept: Sequence[Row], _: Sequence[Row], here: Sequence[Row], *__: Any) -> bool | None:
    number = AGGREGATES[said["sql"]](kept)
    if number is None:
        return None if said.get("null_ok") or not here else False
    return within(number, said)


def _references(said: Row, kept: Sequence[Row], there: Sequence[Row], *_: Any) -> bool | None:
    partners = {_key(row, said["columns"]) for row in there}
    keys = [_key(row, said["columns"]) for row in kept if None not in _key(row, said["columns"])]
    return share(sum(key not in partners for key in keys), len(keys), said)


def _coverage(said: Row, _: Sequence[Row], there: Sequence[Row], here: Sequence[Row], *__: Any) -> bool | None:
    keys = {key for row in there if None not in (key := _key(row, said["key"]))}
    present = keys & {_key(row, said["key"]) for row in here}
    return Fraction(len(present), len(keys)) >= Fraction(said["at_least"]) if keys else None


def _fresh(said: Row, kept: Sequence[Row], _: Sequence[Row], here: Sequence[Row], *__: Any) -> bool | None:
    if not here:
        return None
    newest = max(_all(kept, "t"), default=None)
    due = datetime.combine(here[0]["day"] + timedelta(days=1), datetime.min.time().replace(hour=6))
    return newest is not None and due - newest <= timedelta(hours=int(said["within"].removesuffix("h")))


def _sql(said: Row, _: Sequence[Row], __: Sequence[Row], here: Sequence[Row], rows: Sequence[Row]) -> bool | None:
    if "IS NULL" in said["query"] and any(row["day"] is None for row in rows):
        return None
    bad = sum(row["s"] == "b" for row in here)
    return Fraction(bad, len(here)) <= Fraction(said.get("at_most", "0")) if bad else True


KINDS: Mapping[str, tuple[Callable[[random.Random], dict[str, Any]], Callable[..., bool | None]]] = {
    "row_count": (
        lambda dice: (
            _bounds(dice, SMALL) | {"per": "raw.other"} if dice.random() < 0.4 else _bounds(dice, ["0", "1", "2", "2.0", "3"])
        ),
        _row_count,
    ),
    "unique": (
        lambda dice: {"columns": dice.sample(["i", "f", "d", "s"], dice.choice((1, 2)))} | _maybe(dice, at_most="0.25"),
        lambda said, kept, *_: share(_surplus(kept, said["columns"]), len(kept), said) is not False,
    ),
    "not_null": (
        lambda dice: {"columns": dice.sample(["i", "f", "d", "s", "t"], 2)},
        lambda said, kept, *_: share(max(sum(row[c] is None for row in kept) for c in said["columns"]), len(kept), said),
    ),
    "accepted_values": (
        _accepted,
        lambda said, kept, *_: share(sum(not _is_accepted(said, row[said["column"]]) for row in kept), len(kept), said),
    ),
    "in_range": (
        _in_range,
        lambda said, kept, *_: share(
            sum(row[said["column"]] is not None and not within(row[said["column"]], _ranged(said)) for row in kept),
            len(kept),
            said,
        ),
    ),
    "matches": (
        lambda dice: {"column": "s", "pattern": dice.choice(("a", "^a$", "[A-Z]"))},
        lambda said, kept, *_: share(
            sum(row["s"] is not None and not re.search(said["pattern"], row["s"]) for row in kept), len(kept), said
        ),
    ),
    "invariant": (
        lambda dice: {"that": dice.choice((f"i <= {BIG}", f"i <> {BIG + 1}", "i >= 1 OR s = 'b'"))},
        lambda said, kept, *_: share(sum(INVARIANTS[said["that"]](row) is False for row in kept), len(kept), said),
    ),
    "references": (
        lambda dice: {"table": "raw.other", "columns": dice.sample(["i", "d", "s"], dice.choice((1, 2)))},
        _references,
    ),
    "coverage": (
        lambda dice: {"of": "raw.other", "key": dice.sample(["i", "d", "s"], 1), "at_least": dice.choice(("1", "0.5", "0.25"))},
        _coverage,
    ),
    "fresh": (lambda dice: {"column": "t", "within": dice.choice(("1h", "7h", "25h", "49h"))}, _fresh),
    "aggregate": (
        lambda dice: (
            {"sql": dice.choice([*AGGREGATES]), **_bounds(dice, [*SMALL, *BOUNDS["i"]])} | _maybe(dice, null_ok="true")
        ),
        _aggregate,
    ),
    "distinct": (
        lambda dice: {"column": dice.choice(("i", "f", "d", "s"))} | _bounds(dice, SMALL),
        lambda said, kept, _, here, *__: (
            within(len({_key(row, [said["column"]]) for row in kept} - {(None,)}), said) if here else None
        ),
    ),
    "schema": (
        lambda dice: {"columns": {"I": dice.choice(("INT64", "integer", "STRING")), "f": "FLOAT64"}},
        lambda said, *_: said["columns"]["I"] != "STRING",
    ),
    "sql": (
        lambda dice: {"query": dice.choice(QUERIES)} | _maybe(dice, at_most="0.5"),
        _sql,
    ),
}
QUERIES = (
    "SELECT day FROM {table} WHERE day BETWEEN @from AND @to AND s = 'b'",
    "SELECT day FROM {table} WHERE (day BETWEEN @from AND @to AND s = 'b') OR day IS NULL",
)
INVARIANTS: Mapping[str, Callable[[Row], bool | None]] = {
    f"i <= {BIG}": lambda row: None if row["i"] is None else row["i"] <= BIG,
    f"i <> {BIG + 1}": lambda row: None if row["i"] is None else row["i"] != BIG + 1,
    "i >= 1 OR s = 'b'": lambda row: (
        True if row["s"] == "b" or (row["i"] is not None and row["i"] >= 1) else None if None in (row["s"], row["i"]) else False
    ),
}


def _ranged(said: Row) -> dict[str, Any]:
    return {key: said[key] for key in ("min", "max", "above", "below") if key in said}
