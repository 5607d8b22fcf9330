"""Google's own analyser takes every statement: it knows types and signatures better than the emulator does.

It is slow to start (half a minute, 1 GB), and all statements are asked of one.
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
"""Types whose name here is not GoogleSQL's."""


@cache
def language() -> Any:
    """Whose first call starts the analyser; every worker imports this file, and only one of them asks."""
    return LanguageOptions.maximum_features()


def kind(name: str) -> Any:
    return TypeKind[f"TYPE_{KINDS.get(name, name)}"]


def demo_tables(file: Path) -> Mapping[str, str]:
    """The columns of each table in a DuckDB file, as `TABLES` has them."""
    with duckdb.connect(file, read_only=True) as connection:
        found = connection.execute("SELECT schema_name || '.' || table_name FROM duckdb_tables()").fetchall()
        described = {name: connection.execute(f"DESCRIBE {name}").fetchall() for (name,) in found}
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
    """What the analyser has against a statement; empty when it takes it, with a column for each number and the date."""
    statement = render(query, DAYS, Dialect.BIGQUERY)
    declared = [AnalyzerOptions.QueryParameter(name=p.name, type=Type(type_kind=kind(p.type))) for p in statement.params]
    options = AnalyzerOptions(language_options=language(), query_parameters=declared)
    try:
        found = Analyzer(options, tables).analyze_statement(statement.text)
    except Exception as error:  # noqa: BLE001 - whatever it says is shown
        return f"{error}: {statement.text}"
    columns = len(found.output_column_list)
    return "" if columns == len(query.metrics) + 1 else f"{columns} columns: {statement.text}"


def test_every_statement_is_sound(every_kind: tuple[Query, ...], demo_warehouse: Path) -> None:
    """Those of every kind of check and those of the demo's pipeline; one about a column that is not there is refused."""
    pipeline = load(FLIGHTS)
    kinds, demo = catalogue(TABLES), catalogue(demo_tables(demo_warehouse))
    problems = [refused(kinds, query) for query in every_kind]
    problems += [refused(demo, query) for query in queries(pipeline, pipeline.phases)]
    bare = catalogue(TABLES | {"raw.flights": "d DATE"})

    assert [problem for problem in problems if problem] == []
    assert any("Unrecognized name: delay" in refused(bare, query) for query in every_kind), "a column that is not there"
