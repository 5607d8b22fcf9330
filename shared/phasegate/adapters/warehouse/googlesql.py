"""GoogleSQL of the pipeline file, for DuckDB: only SQL that is known to give the same answer as in BigQuery is accepted.

Short conditions and aggregates, which are the most common, are recognised as a subset of GoogleSQL on which both agree.
Everything else is parsed by sqlglot and compared with an allow list: node by node, each with the arguments that it may have.
Tests run everything that is on the list; what is not on it is refused with a reason.

For every statement that BigQuery answers, DuckDB gives the same answer or none. The reverse is not true: DuckDB accepts some
comparisons of different types that are errors in BigQuery. Two differences can't be seen in the text. DuckDB treats NaN as
equal to itself and as the greatest number; the warehouse guards against that where it knows the columns, which is everywhere
but in queries. And arithmetic on NUMERIC columns is rounded at another digit.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from phasegate.core.checks.metrics import Aggregate, AnyMetric, Number
from phasegate.core.checks.sql import SqlKind
from phasegate.core.field_syntax import NAME
from phasegate.errors import ConfigError

if TYPE_CHECKING:  # sqlglot costs 0.1 s, which a pipeline with plain conditions need not pay
    from sqlglot import exp
    from sqlglot.tokenizer_core import Token


class UnsupportedSql(Exception):
    """Valid SQL that DuckDB is not known to answer like BigQuery; the message says which part and why."""


def to_duckdb(text: str, kind: SqlKind) -> str:
    """The same SQL for DuckDB; `@from` and `@to` become `$from` and `$to`.

    Raises:
        UnsupportedSql: A part of it is not on the list.
        ConfigError: It does not parse, or is not one condition, expression or query.
    """
    if (plain := _plain(text, kind)) is not None:
        return plain
    sql, reason = _translated(text, kind)
    if reason is not None:
        raise UnsupportedSql(reason)
    return sql


def in_catalogue(sql: str, catalogue: str) -> str:
    """A DuckDB query that names the catalogue of each table: a dataset may have the same name as a catalogue."""
    from sqlglot import exp, parse_one

    tree = parse_one(sql, read="duckdb")
    for table in tree.find_all(exp.Table):
        if table.args.get("db") is not None and table.args.get("catalog") is None:
            table.set("catalog", exp.to_identifier(catalogue, quoted=True))
    return tree.sql(dialect="duckdb")


def check_sql(text: str, kind: SqlKind) -> str | None:
    """Why this SQL is not run on DuckDB; None when it is.

    Raises:
        ConfigError: It does not parse, or is not one condition, expression or query.
    """
    try:
        to_duckdb(text, kind)
    except UnsupportedSql as unsupported:
        return str(unsupported)
    return None


# The plain subset, as a regular language with one letter for each token. Not plain are reserved words that are not in the table
# below, escapes, adjacent strings, a sign after an operator, NOT, and inner brackets.

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<word>[A-Za-z_]\w*)
    | (?P<number>\d{1,15}(?:\.\d{1,15})?)(?![\w.])
    | (?P<string>'[^'\\\n\r]*')
    | (?P<comparison><=|>=|<>|!=|=|<|>)
    | (?P<sign>[*+(),-])
    )\s*""",
    re.ASCII | re.VERBOSE,
)
_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("sum", "min", "max", "avg"), "A"),
    "and": "a",
    "between": "w",
    "count": "C",
    "countif": "F",
    "distinct": "D",
    "in": "i",
    "is": "k",
    "not": "!",
    "null": "0",
    "or": "o",
    "safe_divide": "/",
}
_RESERVED = frozenset(
    re.findall(
        r"\w+",
        """
        all any array as asc assert_rows_modified at by case cast collate contains create cross cube current default define desc
        else end enum escape except exclude exists extract false fetch following for from full group grouping groups hash having
        if ignore inner intersect interval into join lateral left like limit lookup merge natural new no nulls of on order outer
        over partition preceding proto qualify range recursive respect right rollup rows select set some struct tablesample then
        to treat true unbounded union unnest using when where window with within
        current_date current_datetime current_time current_timestamp
        """,
    )
)
"""Words that can't be columns. Source: GoogleSQL, Lexical structure, Reserved keywords; and functions without brackets."""
_NUMERIC = r"(?:n|-?d)(?:[*+-][nd])*"
_VALUE = rf"(?:{_NUMERIC}|s)"
_TERM = rf"(?:{_VALUE}c{_VALUE}|nk!?0|n!?i\({_VALUE}(?:,{_VALUE})*\)|n!?w{_VALUE}a{_VALUE})"
_CONDITION = rf"{_TERM}(?:[ao]{_TERM})*"
_COUNT = rf"C\(\*\)|F\({_CONDITION}\)|[CA]\(D?n\)"
_PLAIN: Mapping[SqlKind, re.Pattern[str]] = {
    SqlKind.CONDITION: re.compile(_CONDITION),
    SqlKind.AGGREGATE: re.compile(rf"{_COUNT}|/\((?P<over>{_COUNT}),(?P<under>{_COUNT})\)"),
}


def _plain(text: str, kind: SqlKind) -> str | None:
    """The translation of plain SQL; None for any other."""
    letters, translated = "", []
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        letter = None if token is None else _letter(token)
        if token is None or letter is None:
            return None
        letters += letter
        translated.append(_translate_token(token, letter))
        at = token.end()
    match = _PLAIN[kind].fullmatch(letters) if kind in _PLAIN else None
    if match is None:
        return None
    if kind is SqlKind.AGGREGATE and match["over"]:
        over, under = ("".join(translated[slice(*match.span(name))]) for name in ("over", "under"))
        return f"CASE WHEN {under} <> 0 THEN {over} / {under} END"
    return "".join(translated)


def _letter(token: re.Match[str]) -> str | None:
    match token.lastgroup:
        case "word" if (word := token["word"].lower()) not in _RESERVED:
            return _WORDS.get(word, "n")
        case "number" | "string" | "comparison" as kind:
            return {"number": "d", "string": "s", "comparison": "c"}[kind]
        case "sign":
            return token["sign"]
    return None


def _translate_token(token: re.Match[str], letter: str) -> str:
    """The token for DuckDB, with the white space around it."""
    text = token[0].strip()
    if letter == "n":
        return token[0].replace(text, f'"{text}"')
    return token[0].replace(text, _double(text)) if letter == "d" and "." in text else token[0]


def _double(number: str) -> str:
    """A decimal literal is a FLOAT64 in GoogleSQL and a DECIMAL in DuckDB, unless it has an exponent."""
    return number if "e" in number.lower() else f"{number.rstrip('.')}e0"


# The allow list: each kind of node with the arguments that it may have. `_RULES` restricts or rewrites some of them.

_EXPRESSIONS: Mapping[str, str] = {
    "Column": "this table",
    "Identifier": "this quoted",
    "Literal": "this is_string",
    "RawString": "this",
    "Boolean": "this",
    "Null": "",
    "Parameter": "this",
    "Var": "this",
    "Paren": "this",
    **dict.fromkeys(("And", "Or", "EQ", "NEQ", "LT", "LTE", "GT", "GTE", "Is", "NullSafeEQ", "NullSafeNEQ"), "this expression"),
    "Like": "this expression negate",
    **dict.fromkeys(("Not", "Neg", "Abs", "Floor", "Ceil", "Round"), "this"),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod", "SafeDivide"), "this expression"),
    "Between": "this low high",
    "In": "this expressions query",
    "Case": "this ifs default",
    "If": "this true false",
    "Coalesce": "this expressions",
    "Nullif": "this expression",
    # Functions on text.
    **dict.fromkeys(("StartsWith", "EndsWith", "RegexpLike"), "this expression"),
    "Concat": "expressions safe",
    "Length": "this binary",
    "Substring": "this start length",
    "Replace": "this expression replacement",
    # Functions on dates and times.
    "Date": "this",
    "Cast": "this to",
    "DataType": "this",
    **dict.fromkeys(("DateAdd", "DateSub", "TimestampDiff"), "this expression unit"),
    "DateDiff": "this expression unit date_part_boundary",
    "DateTrunc": "this unit",
    "WeekStart": "this",  # occurs only as a unit, and no rule accepts it as one
    "UnixSeconds": "this",
    "Extract": "this expression",
    # Aggregates.
    "Star": "",
    "Count": "this big_int",
    "Distinct": "expressions",
    "ApproxDistinct": "this",
    **dict.fromkeys(("CountIf", "Sum", "Avg", "Min", "Max", "LogicalAnd", "LogicalOr"), "this"),
    **dict.fromkeys(("Stddev", "StddevSamp", "StddevPop", "Variance", "VariancePop"), "this"),
}
_QUERIES: Mapping[str, str] = {
    "Select": "expressions distinct from_ joins where group having qualify order with_",
    "Subquery": "this alias",
    "From": "this",
    "Table": "this db catalog alias",
    "TableAlias": "this columns",
    "Join": "this on using side kind",
    "Where": "this",
    "Having": "this",
    "Qualify": "this",
    "Group": "expressions",
    "Order": "expressions",
    "Ordered": "this desc nulls_first",
    "Alias": "this alias",
    "With": "expressions",
    "CTE": "this alias",
    "Union": "this expression distinct with_ order",
    "Except": "this expression distinct with_ order",
    "Intersect": "this expression distinct with_ order",
    "Exists": "this",
    "Unnest": "expressions alias",
    "GenerateDateArray": "start end step",
    "Interval": "this unit",
    "Window": "this partition_by order over",
    **dict.fromkeys(("RowNumber", "Rank", "DenseRank"), ""),
    **dict.fromkeys(("Lag", "Lead"), "this"),
}
_ALLOWED: Mapping[SqlKind, Mapping[str, str]] = {
    SqlKind.CONDITION: _EXPRESSIONS,
    SqlKind.AGGREGATE: _EXPRESSIONS,
    SqlKind.QUERY: {**_EXPRESSIONS, **_QUERIES},
}
_HINTS: Mapping[str, str] = {
    "Div": "write SAFE_DIVIDE(a, b), or divide by a number",
    "Cast": "compare columns with values of their own type",
    "TryCast": "test the text with REGEXP_CONTAINS",
    "Lower": "compare with REGEXP_CONTAINS(a, r'(?i)^b$')",
    "Upper": "compare with REGEXP_CONTAINS(a, r'(?i)^b$')",
    "Trim": "test with REGEXP_CONTAINS(a, r'^\\s*b\\s*$')",
    "Greatest": "write CASE WHEN a >= b THEN a ELSE b END",
    "Least": "write CASE WHEN a <= b THEN a ELSE b END",
    "RegexpExtract": "test with REGEXP_CONTAINS",
    "Median": "BigQuery has no MEDIAN either; compare AVG, or MIN and MAX",
    "ApproxQuantiles": "compare AVG, or MIN and MAX",
    "Tuple": "compare the columns one by one",
    "TimestampDiff": "take it in SECOND, and compare with a number of seconds",
    "DatetimeDiff": "compare DATE_DIFF in DAY, or the columns themselves",
    "Like": "write the pattern as a text without a backslash, or use REGEXP_CONTAINS",
    "AtTimeZone": "take the parts of a time in UTC",
    "Subquery": "use a sql check",
}
_COMPARISONS = ("EQ", "NEQ", "LT", "LTE", "GT", "GTE", "Is", "In", "Between", "Like")


@lru_cache(maxsize=1024)
def _translated(text: str, kind: SqlKind) -> tuple[str, str | None]:
    tree = _parsed(text, kind)
    try:
        return _rewritten(tree, kind).sql("duckdb", identify=True, comments=False), None
    except UnsupportedSql as unsupported:
        return "", str(unsupported)


def _rewritten(node: "exp.Expr", kind: SqlKind) -> "exp.Expr":
    """The node and everything in it, rewritten for DuckDB."""
    name = type(node).__name__
    allowed = _ALLOWED[kind].get(name)
    if allowed is None:
        raise _unsupported(node)
    for argument, value in node.args.items():
        if value and argument not in allowed.split():
            raise _unsupported(node, argument=argument.strip("_").upper())
    if name in _COMPARISONS and any(type(child).__name__ in (*_COMPARISONS, "Not") for child in node.iter_expressions()):
        raise _unsupported(node, hint="put the inner comparison in brackets")
    for child in tuple(node.iter_expressions()):
        _rewritten(child, kind)
    rule = _RULES.get(name)
    new = node if rule is None else rule(node)
    return node if new is node else node.replace(new)


def _unsupported(node: "exp.Expr", detail: str = "", *, argument: str = "", hint: str = "") -> UnsupportedSql:
    from sqlglot import exp

    construct = _one_line(node.sql("bigquery", comments=False))
    if isinstance(node, exp.Query):
        construct = argument or "a query within an expression"
    elif isinstance(node, exp.Func) and "(" in construct:
        construct = construct.partition("(")[0] + (f" with {argument}" if argument else detail)
    hint = hint or _HINTS.get(type(node).__name__, "")
    reason = f"{construct} is not known to give the same answer on DuckDB as in BigQuery"
    return UnsupportedSql(f"{reason}; {hint}" if hint else reason)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:79]}…"


Rule = Callable[["exp.Expr"], "exp.Expr"]


def _literal(node: "exp.Expr") -> "exp.Expr":
    from sqlglot import exp

    if isinstance(node, exp.Literal) and not node.is_string and not str(node.this).isdigit():
        return exp.Literal.number(_double(str(node.this)))
    return node


def _whole(node: "exp.Expr | None", least: int) -> bool:
    from sqlglot import exp

    return isinstance(node, exp.Literal) and str(node.this).isdigit() and int(str(node.this)) >= least


def _text(node: "exp.Expr | None") -> str | None:
    """The value of a string literal; None for anything else."""
    from sqlglot import exp

    return str(node.this) if isinstance(node, exp.RawString) or (isinstance(node, exp.Literal) and node.is_string) else None


def _require(node: "exp.Expr", condition: bool) -> "exp.Expr":
    if not condition:
        raise _unsupported(node)
    return node


def _arg(node: "exp.Expr", name: str) -> "exp.Expr | None":
    value: exp.Expr | None = node.args.get(name)
    return value


def _unit(node: "exp.Expr") -> str:
    return str(node.args["unit"].name).upper()


def _as_date(node: "exp.Expr") -> "exp.Expr":
    from sqlglot import exp

    return exp.cast(node.copy(), "DATE")


def _parameter(node: "exp.Expr") -> "exp.Expr":
    if node.name.lower() not in ("from", "to"):
        raise ConfigError(f"SQL parameter @{node.name}: expected @from or @to")
    return node


def _division(node: "exp.Expr") -> "exp.Expr":
    """Division by zero is an error in BigQuery and infinity in DuckDB; only a literal is known not to be zero."""
    from sqlglot import exp

    divisor = _arg(node, "expression")
    return _require(node, isinstance(divisor, exp.Literal) and not divisor.is_string and float(str(divisor.this)) != 0)


def _modulo(node: "exp.Expr") -> "exp.Expr":
    return _require(node, _whole(_arg(node, "expression"), 1))


def _like(node: "exp.Expr") -> "exp.Expr":
    """A backslash is an escape in BigQuery and a plain character in DuckDB."""
    pattern = _text(_arg(node, "expression"))
    return _require(node, pattern is not None and "\\" not in pattern)


def _with_pattern(node: "exp.Expr") -> "exp.Expr":
    return _require(node, _text(_arg(node, "expression")) is not None)


def _length(node: "exp.Expr") -> "exp.Expr":
    from sqlglot import exp

    return exp.Anonymous(this="LENGTH", expressions=[node.this])


def _substring(node: "exp.Expr") -> "exp.Expr":
    """Position 0 and positions from the end give different results."""
    length = _arg(node, "length")
    return _require(node, _whole(_arg(node, "start"), 1) and (length is None or _whole(length, 0)))


_TIMES: Mapping[str, str] = {
    "DATE": r"\d{4}-\d{2}-\d{2}",
    "TIMESTAMP": r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(\.\d{1,6})?",
    "TIMESTAMPTZ": r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}(:\d{2})?)?",
}


def _cast(node: "exp.Expr") -> "exp.Expr":
    """Only literals: text to number, rounding of halves, and number to text all differ."""
    kind = node.args["to"].this.name
    text, form = _text(_arg(node, "this")), _TIMES.get(kind)
    if text is not None and form is not None and not re.fullmatch(form, text, re.ASCII):
        name = {"TIMESTAMP": "DATETIME", "TIMESTAMPTZ": "TIMESTAMP"}.get(kind, kind)
        whole = {"DATE": "2024-01-31", "DATETIME": "2024-01-31 10:00:00", "TIMESTAMP": "2024-01-31 10:00:00+00:00"}[name]
        raise UnsupportedSql(f"{name} '{_one_line(text)}' is not written in full; write it like {name} '{whole}'")
    return _require(node, text is not None and form is not None)


def _concat(node: "exp.Expr") -> "exp.Expr":
    """CONCAT of a null is null in BigQuery; DuckDB's own CONCAT leaves nulls out, its || does not."""
    from sqlglot import exp

    first, *others = [part.copy() for part in node.expressions]
    for part in others:
        first = exp.DPipe(this=first, expression=part, safe=True)
    return exp.Paren(this=first)


def _exact_count(node: "exp.Expr") -> "exp.Expr":
    """Exact on DuckDB, about right in BigQuery."""
    from sqlglot import exp

    return exp.Count(this=exp.Distinct(expressions=[node.this.copy()]))


def _date(node: "exp.Expr") -> "exp.Expr":
    return _as_date(node.this)


def _date_shift(node: "exp.Expr") -> "exp.Expr":
    """In DuckDB, a date plus an interval is a TIMESTAMP."""
    units = ("DAY", "WEEK", "MONTH", "QUARTER", "YEAR")
    return _as_date(_require(node, _unit(node) in units and _whole(_arg(node, "expression"), 0)))


def _date_diff(node: "exp.Expr") -> "exp.Expr":
    _require(node, _unit(node) == "DAY")
    node.set("this", _as_date(node.this))
    node.set("expression", _as_date(node.args["expression"]))
    return node


def _timestamp_diff(node: "exp.Expr") -> "exp.Expr":
    """BigQuery counts whole units. DuckDB's date_diff counts boundaries crossed; its date_sub counts whole units."""
    from sqlglot import exp

    units = ("SECOND", "MILLISECOND", "MICROSECOND")
    if _unit(node) not in units:
        raise _unsupported(node, f" in {_unit(node)}")
    unit = exp.Literal.string(_unit(node).lower())
    return exp.Anonymous(this="DATE_SUB", expressions=[unit, node.args["expression"], node.this])


def _date_trunc(node: "exp.Expr") -> "exp.Expr":
    """Weeks are refused: they begin on Sunday in BigQuery and on Monday in DuckDB."""
    return _as_date(_require(node, _unit(node) in ("DAY", "MONTH", "QUARTER", "YEAR")))


def _unix_seconds(node: "exp.Expr") -> "exp.Expr":
    from sqlglot import exp

    return exp.cast(exp.Anonymous(this="FLOOR", expressions=[exp.Anonymous(this="EPOCH", expressions=[node.this])]), "BIGINT")


def _extract(node: "exp.Expr") -> "exp.Expr":
    """Weeks and week days are refused: their numbers differ."""
    parts = ("YEAR", "QUARTER", "MONTH", "DAY", "DAYOFYEAR", "HOUR", "MINUTE", "SECOND")
    if node.name.upper() not in parts:
        raise _unsupported(node, f"({node.name.upper()} …)")
    return node


def _distinct(node: "exp.Expr") -> "exp.Expr":
    return _require(node, len(node.expressions) <= 1)


def _table(node: "exp.Expr") -> "exp.Expr":
    if not re.fullmatch(NAME, node.name):
        raise _unsupported(node, hint="name one table")
    node.set("catalog", None)  # the project, which DuckDB does not have
    return node


def _unnest(node: "exp.Expr") -> "exp.Expr":
    return _require(node, [type(array).__name__ for array in node.expressions] == ["GenerateDateArray"])


def _interval(node: "exp.Expr") -> "exp.Expr":
    return _require(node, _unit(node) in ("DAY", "WEEK", "MONTH", "QUARTER", "YEAR"))


_RULES: Mapping[str, Rule] = {
    "Literal": _literal,
    "Parameter": _parameter,
    "Div": _division,
    "Mod": _modulo,
    "Like": _like,
    "StartsWith": _with_pattern,
    "EndsWith": _with_pattern,
    "RegexpLike": _with_pattern,
    "Replace": lambda node: _require(node, bool(_text(_arg(node, "expression")))),
    "Length": _length,
    "Substring": _substring,
    "Date": _date,
    "Cast": _cast,
    "Concat": _concat,
    "ApproxDistinct": _exact_count,
    "DateAdd": _date_shift,
    "DateSub": _date_shift,
    "DateDiff": _date_diff,
    "TimestampDiff": _timestamp_diff,
    "DateTrunc": _date_trunc,
    "UnixSeconds": _unix_seconds,
    "Extract": _extract,
    "Distinct": _distinct,
    "Table": _table,
    "Unnest": _unnest,
    "Interval": _interval,
}


_ESCAPES = "nrt\\'\"`"
"""The escapes that sqlglot and BigQuery read alike. sqlglot drops the backslash of any other, which BigQuery refuses."""


def _parsed(text: str, kind: SqlKind) -> "exp.Expr":
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import ParseError, TokenError

    try:
        tokens = sqlglot.tokenize(text, read="bigquery")
        _check_tokens(text, tokens, kind)
        tree = (
            sqlglot.parse_one(text, read="bigquery")
            if kind is SqlKind.QUERY
            else sqlglot.parse_one(text, read="bigquery", into=exp.Condition)
        )
    except TokenError:
        raise _syntax_error(text, "a string, a quoted name or a comment does not end") from None
    except ParseError as error:
        raise _syntax_error(text, _parse_error(text, error.errors[0] if error.errors else {})) from None
    if kind is SqlKind.QUERY and not isinstance(tree, exp.Query):
        raise _syntax_error(text, "expected one query")
    return tree


def _check_tokens(text: str, tokens: "list[Token]", kind: SqlKind) -> None:
    """Refuse what sqlglot accepts and BigQuery does not."""
    words = [token.text.upper() for token in tokens]
    if not words:
        raise _syntax_error(text, f"expected {'a query' if kind is SqlKind.QUERY else 'an expression'}, got nothing")
    if kind is SqlKind.QUERY and next((word for word in words if word != "("), "") not in ("SELECT", "WITH"):
        raise _syntax_error(text, f'expected a query that begins with SELECT or WITH, got "{tokens[0].text}"')
    if ";" in words[:-1]:
        raise _syntax_error(
            text, f"expected one {'query' if kind is SqlKind.QUERY else 'expression'}, got several, separated by a semicolon"
        )
    for token in tokens:
        source = text[token.start : token.end + 1]
        if token.token_type.name == "STRING" and set(re.findall(r"\\(.)", source, re.DOTALL)) - set(_ESCAPES):
            allowed = " ".join(f"\\{letter}" for letter in _ESCAPES)
            raise _syntax_error(text, f"expected only the escapes {allowed} in {_one_line(source)}; r'…' has none")


def _syntax_error(text: str, message: str) -> ConfigError:
    return ConfigError(f'SQL "{_one_line(text)}": {message}')


def _parse_error(text: str, error: Mapping[str, object]) -> str:
    message, at = str(error.get("description", "")), str(error.get("highlight", ""))
    line, column = error.get("line", 1), error.get("col", 0)
    place = f"line {line}, character {column}" if "\n" in text.strip() else f"character {column}"
    if message.startswith("Required keyword"):
        return f'expected an expression after "{at}" ({place})'
    if message.startswith("Expecting "):
        return f'expected "{message.removeprefix("Expecting ")}" after "{at}" ({place})'
    return f'unexpected "{at}" ({place})' if at else "not understood"


# What aggregates are without rows.


def values_of_nothing(metrics: Iterable[AnyMetric]) -> dict[AnyMetric, Number]:
    """The aggregates that have a number without any rows: what only counts is 0, what has a default is that."""
    values = {metric: _value_of_nothing(metric.expression) for metric in metrics if isinstance(metric, Aggregate)}
    return {metric: value for metric, value in values.items() if value is not None}


@lru_cache(maxsize=1024)
def _value_of_nothing(expression: str) -> Number | None:
    if not re.search(r"count|coalesce|ifnull", expression, re.IGNORECASE):
        return None
    try:
        value = _of_nothing(_parsed(expression, SqlKind.AGGREGATE))
    except ConfigError:
        return None
    return None if value is None else int(value) if value.denominator == 1 else float(value)


def _of_nothing(node: "exp.Expr") -> Fraction | None:
    """The number of an expression over no rows; None when it is null, or anything else."""
    name = type(node).__name__
    if name in _COUNTS or (name == "Anonymous" and str(node.this).upper() in _OTHER_COUNTS):
        return Fraction(0)
    parts = [_of_nothing(part) for part in node.iter_expressions()]
    present = [part for part in parts if part is not None]
    match name:
        case "Literal" if not node.args["is_string"]:
            return Fraction(str(node.this))
        case "Coalesce":
            return present[0] if present else None
        case "Paren" | "Neg" | "Abs" | "Cast" | "Round" if parts and parts[0] is not None:
            return -parts[0] if name == "Neg" else abs(parts[0]) if name == "Abs" else parts[0]
        case "Add" | "Sub" | "Mul" if len(present) == 2:
            return {"Add": present[0] + present[1], "Sub": present[0] - present[1], "Mul": present[0] * present[1]}[name]
        case "Div" | "SafeDivide" if len(present) == 2 and present[1]:
            return present[0] / present[1]
    return None


_COUNTS = ("Count", "CountIf", "ApproxDistinct")
_OTHER_COUNTS = ("APPROX_COUNT_DISTINCT", "HLL_COUNT.EXTRACT")
