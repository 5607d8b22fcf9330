"""Google's own analyser accepts every statement: it knows types and signatures better than the emulator does.

It is slow to start (half a minute, 1 GB), so one instance checks all statements.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
from phasegate.adapters.warehouse.catalogue import googlesql_type
from phasegate.adapters.warehouse.dialect import Dialect, render
from phasegate.app.pipeline_file import load
from phasegate.core.checks.metrics import Query
from phasegate.core.gates.verdict import queries
from zetasql.api import Analyzer, CatalogBuilder, TableBuilder
from zetasql.types import AnalyzerOptions, LanguageOptions, Type, TypeKind, ZetaSQLBuiltinFunctionOptions

from tests.adapters.warehouse.test_bigquery import DAYS, TABLES, every_kind

__all__ = ["every_kind"]

FLIGHTS = Path(__file__).parents[3] / "shared/pipelines/flights.yaml"
KINDS = {"FLOAT64": "DOUBLE"}
"""Types that have another name here than in GoogleSQL."""


@cache
def language() -> Any:
    """The first call starts the analyser. Every worker imports this file, but only one runs the test."""
    return LanguageOptions.maximum_features()


def kind(name: str) -> Any:
    return TypeKind[f"TYPE_{KINDS.get(name, name)}"]


def demo_tables(file: Path) -> Mapping[str, str]:
    """The columns of each table in a DuckDB file, in the form of `TABLES`."""
    with duckdb.connect(file, read_only=True) as connection:
        names = connection.execute("SELECT schema_name || '.' || table_name FROM duckdb_tables()").fetchall()
        described = {name: connection.execute(f"DESCRIBE {name}").fetchall() for (name,) in names}
    return {name: ", ".join(f"{c} {googlesql_type(t)}" for c, t, *_ in columns) for name, columns in described.items()}


def catalogue(tables: Mapping[str, str]) -> Any:
    """The tables, in one catalogue for each dataset."""
    functions = ZetaSQLBuiltinFunctionOptions(language_options=language())
    datasets: dict[str, Any] = {}
    for name, columns in tables.items():
        dataset, table = name.split(".")
        built = TableBuilder(table)
        for column in columns.split(", "):
            built = built.add_column(*(part if not n else kind(part) for n, part in enumerate(column.split())))
        datasets[dataset] = datasets.get(dataset, CatalogBuilder(dataset)).add_table(built.build())
    whole = CatalogBuilder("project").with_builtin_functions(functions).build()
    whole.catalog = [dataset.build() for dataset in datasets.values()]
    return whole


def refused(tables: Any, query: Query) -> str:
    """The analyser's complaint about a statement; empty when it accepts it with a column for each metric and the date."""
    statement = render(query, DAYS, Dialect.BIGQUERY)
    declared = [AnalyzerOptions.QueryParameter(name=p.name, type=Type(type_kind=kind(p.type))) for p in statement.params]
    options = AnalyzerOptions(language_options=language(), query_parameters=declared)
    try:
        analysed = Analyzer(options, tables).analyze_statement(statement.text)
    except Exception as error:  # noqa: BLE001 - whatever it says is shown
        return f"{error}: {statement.text}"
    columns = len(analysed.output_column_list)
    return "" if columns == len(query.metrics) + 1 else f"{columns} columns: {statement.text}"


def test_every_statement_is_valid(every_kind: tuple[Query, ...], demo_warehouse: Path) -> None:
    """For every kind of check and for the demo's pipeline; a statement with a missing column is refused."""
    pipeline = load(FLIGHTS)
    kinds, demo = catalogue(TABLES), catalogue(demo_tables(demo_warehouse))
    problems = [refused(kinds, query) for query in every_kind]
    problems += [refused(demo, query) for query in queries(pipeline, pipeline.phases)]
    bare = catalogue(TABLES | {"raw.flights": "d DATE"})

    assert [problem for problem in problems if problem] == []
    assert any("Unrecognized name: delay" in refused(bare, query) for query in every_kind), "a column that is not there"
