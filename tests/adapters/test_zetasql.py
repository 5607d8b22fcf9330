"""Google's own analyser takes every statement: it knows types and signatures better than the emulator does.

It is slow to start (half a minute, 1 GB), and only asked where the package `zetasql` is installed.
"""

from typing import Any

import pytest
from phasegate.adapters.dialect import Dialect, render
from phasegate.core.metrics import Query

from tests.adapters.test_bigquery import DAYS, TABLES, every_kind

pytest.importorskip("zetasql")

from zetasql.api import Analyzer, CatalogBuilder, TableBuilder
from zetasql.types import AnalyzerOptions, LanguageOptions, Type, TypeKind, ZetaSQLBuiltinFunctionOptions

__all__ = ["every_kind"]

LANGUAGE = LanguageOptions.maximum_features()
KINDS = {"FLOAT64": "DOUBLE"}
"""Types whose name here is not GoogleSQL's."""


def kind(name: str) -> Any:
    return TypeKind[f"TYPE_{KINDS.get(name, name)}"]


@pytest.fixture(scope="module")
def catalogue() -> Any:
    """The tables, in one catalogue for each dataset."""
    functions = ZetaSQLBuiltinFunctionOptions(language_options=LANGUAGE)
    datasets: dict[str, Any] = {}
    for name, columns in TABLES.items():
        dataset, table = name.split(".")
        built = TableBuilder(table)
        for column in columns.split(", "):
            built = built.add_column(*(part if not n else kind(part) for n, part in enumerate(column.split())))
        datasets[dataset] = datasets.get(dataset, CatalogBuilder(dataset)).add_table(built.build())
    whole = CatalogBuilder("project").with_builtin_functions(functions).build()
    whole.catalog = [dataset.build() for dataset in datasets.values()]
    return whole


def test_every_statement_is_sound(catalogue: Any, every_kind: tuple[Query, ...]) -> None:
    for query in every_kind:
        statement = render(query, DAYS, Dialect.BIGQUERY)
        declared = [AnalyzerOptions.QueryParameter(name=p.name, type=Type(type_kind=kind(p.type))) for p in statement.params]
        options = AnalyzerOptions(language_options=LANGUAGE, query_parameters=declared)

        found = Analyzer(options, catalogue).analyze_statement(statement.text)

        assert len(found.output_column_list) == len(query.metrics) + 1, statement.text
