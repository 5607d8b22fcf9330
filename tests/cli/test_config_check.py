"""`phasegate config check` refuses what could never work, all of it at once."""

import pytest
from click.testing import CliRunner
from phasegate.cli.config import check

FILE = """\
pipeline: shop
calendar: {{from: 2021-01-01}}
phases:
  raw:
    due: 06:00 +1d
    outputs:
      raw.orders:
        date: run_date
        checks:
{checks}
"""


def refused(tmp_path, monkeypatch, text: str) -> str:
    """What the command says of a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.yaml").write_text(text)
    done = CliRunner().invoke(check, ["shop.yaml"])
    return str(done.exception)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('matches: {column: id, pattern: "(ok"}', "expected a pattern that RE2 accepts (missing ): (ok)"),
        ('matches: {column: id, pattern: "[z-a]"}', "expected a pattern that RE2 accepts (invalid character class range: z-a)"),
        ('matches: {column: id, pattern: "(?!x)"}', "expected a pattern that RE2 accepts, without (?!"),
        ('matches: {column: id, pattern: "(?<=x)y"}', "without (?<="),
        ('matches: {column: id, pattern: "(a)\\\\1"}', "without \\1"),
        (
            "aggregate: {sql: SUM(id), at_most: 5, acceptable: [0, 4]}",
            "expected an acceptable band that includes the passing one",
        ),
        ("not_null: {columns: [id], at_most: 0.1, acceptable: 0.05}", "expected an acceptable share ≥ at_most"),
        ("in_range: {column: id, min: 1, at_most: 0.1, acceptable: 0.05}", "an acceptable share ≥ at_most"),
        (
            "coverage: {of: raw.orders, key: [id], at_least: 0.9, acceptable: 0.95}",
            "an acceptable share ≤ at_least",
        ),
        ("fresh: {column: t, within: 3h, acceptable: 2h}", "expected an acceptable time at least as long as within"),
        ("schema: {columns: {id: FOO}}", "expected a GoogleSQL type like INT64 or ARRAY<STRING>"),
        ("schema: {columns: {id: STRING(10)}}", "without parameters and fields, or any"),
        ("row_count: {at_least: 0.98}", "expected whole numbers of rows, or shares together with per"),
        ("row_count: {between: [1, 9], acceptable: [0.5, 10]}", "expected whole numbers of rows, or shares together with per"),
        ("in_range: {column: day, min: 2020-02-30}", "expected a date or time of the calendar"),
        ("in_range: {column: day, max: '2020-01-01 25:00:00'}", "not 2020-01-01 25:00:00"),
        ("invariant: {that: ~}", "expected text, got nothing"),
        ("aggregate: {sql: SUM(id), at_least: .nan}", "expected a number, got .nan"),
    ],
)
def test_a_check_that_can_never_work_is_refused(tmp_path, monkeypatch, written, expected):
    message = refused(tmp_path, monkeypatch, FILE.format(checks=f"          - {written}"))
    assert expected in message
    assert 'write "~"' not in message


def test_every_problem_is_told_at_once(tmp_path, monkeypatch):
    """A check that is broken by itself hides neither broken SQL nor what is wrong between the phases."""
    checks = [
        "sql: {query: SELECT 1}",
        "invariant: {that: 'a >'}",
        "aggregate: {sql: 'SUM(', at_least: 1}",
        "not_null: {columns: [id], where: '= 1'}",
        'matches: {column: id, pattern: "(ok"}',
    ]
    text = FILE.format(checks="\n".join(f"          - {each}" for each in checks)) + "    after: [nothing]\n"
    message = refused(tmp_path, monkeypatch, text)
    for expected in ("filters on @from and @to", 'after "(', "shop.yaml:11", "shop.yaml:13", "missing ): (ok", '"nothing"'):
        assert expected in message, message


def test_two_phases_can_not_have_checks_of_the_same_name(tmp_path, monkeypatch):
    other = "  clean: {outputs: {raw.orders: {date: run_date, checks: [not_null: {columns: [id]}]}}}\n"
    message = refused(tmp_path, monkeypatch, FILE.format(checks="          - not_null: {columns: [id]}") + other)
    assert 'expected a unique name, got "raw.orders.not_null.id" twice (give one of the two a name)' in message
