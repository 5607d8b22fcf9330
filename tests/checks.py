"""Examples of every kind of check on raw.flights. Together the examples of a kind set each of its keys."""

from datetime import timedelta

from phasegate.core.checks.base import BaseCheck
from phasegate.core.checks.bounds import Denominator
from phasegate.core.checks.kinds import (
    AcceptedValues,
    AggregateCheck,
    Coverage,
    DistinctCheck,
    Fresh,
    InRange,
    Invariant,
    Matches,
    NotNull,
    PerTable,
    References,
    RowCount,
    SchemaCheck,
    Sql,
    Unique,
)

QUERY = "SELECT flight_date FROM raw.flights WHERE flight_date BETWEEN @from AND @to AND origin = dest"

EXAMPLES: tuple[BaseCheck, ...] = (
    RowCount(at_least=1, at_most=9),
    RowCount(per="expected", between=(0.9, 1.1), acceptable=(0.5, 1.5)),
    RowCount(per="raw.weather", at_least=1),
    RowCount(per=PerTable("raw.weather", "wind > 3"), at_least=1),
    RowCount(above=0, below=9),
    Unique(columns=("a",), at_most=0.1, acceptable=1),
    NotNull(columns=("a", "b"), at_most=0.1, acceptable=0.2),
    AcceptedValues(column="a", values=(1,), at_most=0.1, acceptable=0.2),
    InRange(column="a", min=0, max=9, at_most=0.1, acceptable=0.2),
    InRange(column="a", above=0, below=9),
    Matches(column="a", pattern="x", at_most=0.1, acceptable=0.2),
    Invariant(that="a > b", at_most=0.1, acceptable=0.2),
    References(columns=("a",), table="raw.weather", at_most=0.1, acceptable=0.2),
    References(columns=("a",), table="raw.airlines", to=("b",), same_date=False),
    Coverage(of="raw.weather", key=("a",), columns=("b",), of_where="wind > 3", at_least=0.9, acceptable=0.8),
    Fresh(column="loaded_at", within=timedelta(hours=26), acceptable=timedelta(hours=30)),
    Fresh(column="loaded_at", within=timedelta(hours=26), zone="UTC"),
    AggregateCheck(sql="SUM(a)", at_least=1, at_most=9, null_ok=True),
    AggregateCheck(sql="SUM(a)", above=1, below=9),
    AggregateCheck(sql="SUM(a)", between=(1, 9), acceptable=(0, 10)),
    DistinctCheck(column="a", at_least=2, at_most=9),
    DistinctCheck(column="a", per=Denominator.EXPECTED, at_least=1),
    AggregateCheck(sql="SUM(a)", per=Denominator.EXPECTED, at_least=1),
    DistinctCheck(column="a", above=1, below=9),
    DistinctCheck(column="a", between=(2, 9), acceptable=(1, 10)),
    SchemaCheck(columns={"Flight_Date": "date", "carrier": "STRING"}, exact=True, ordered=True),
    Sql(query=QUERY, at_most=0.1, acceptable=1),
)
