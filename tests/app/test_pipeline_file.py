"""Reading pipeline files: what is accepted, what is refused with which line, and the JSON Schema for editors."""

import json
import re
import subprocess
import sys
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from textwrap import dedent, indent

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from phasegate.app.pipeline_file import json_schema, load, load_all, schema_text
from phasegate.app.yaml_file import Loader
from phasegate.core.checks.kinds import KINDS, PerTable, RowCount
from phasegate.core.field_syntax import Due
from phasegate.core.pipeline.model import DestinationKind, GateMode, Phase, Pipeline
from phasegate.errors import ConfigError

REPO = Path(__file__).parents[2]
FULL = REPO / "tests/core/pipeline/data/flights_full.yaml"
SCHEMA = REPO / "shared/pipelines/pipeline.schema.json"
MINIMAL = """\
pipeline: orders
calendar: {from: 2013-01-01}
phases:
  raw:
    outputs:
      raw.orders:
        date: day
"""
CHECK = 'o.yaml:9: phases.raw.outputs["raw.orders"].checks[0]'


def problems(folder: Path, content: str | bytes) -> list[str]:
    """The lines that a file with this content gives, without the folder."""
    file = folder / "o.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        load(file)
    except ConfigError as error:
        return str(error).replace(f"{folder}/", "").splitlines()
    return []


def checked(*checks: str) -> str:
    """The minimal file, with these checks from line 9 on."""
    return f"{MINIMAL}        checks:\n" + "".join(indent(f"- {check}\n", " " * 10) for check in checks)


def test_the_full_file_is_read_as_written():
    """One value of each syntax and of each kind of nesting."""
    flights = load(FULL)
    raw, features = flights.phases["raw"], flights.phases["features"]

    assert flights.calendar.from_ == date(2013, 1, 1)
    assert flights.calendar.expected is not None and flights.calendar.expected.where == "status != 'postponed'"
    assert flights.calendar.parts_of(date(2013, 1, 14)) == {"warm_up"}
    assert flights.messages.status.nothing == ("no_data", "skipped")
    assert raw.due == Due(at=time(6), days=1)
    assert raw.outputs["raw.flights"].checks[0] == RowCount(
        per="expected", between=(Decimal("0.98"), Decimal("1.02")), acceptable=(Decimal("0.90"), Decimal("1.05"))
    )
    assert features.mode is GateMode.PAUSE and features.look_back == timedelta(days=7)
    per = features.outputs["analytics.routes"].checks[0]
    assert isinstance(per, RowCount) and per.per == PerTable("raw.flights", "distance > 1000")
    assert flights.alerts.routes[2].quiet == (time(22), time(7))


def test_the_full_file_leaves_nothing_out():
    """It has every kind of check, every kind of destination, and every field of a phase."""
    flights = load(FULL)
    checks = [check for phase in flights.phases.values() for output in phase.outputs.values() for check in output.checks]
    unused = set(KINDS) - {check.kind for check in checks}
    assert not unused, f"add a check of kind {unused} to {FULL.relative_to(REPO)}"
    missing = set(DestinationKind) - {destination.kind for destination in flights.alerts.destinations.values()}
    assert not missing, f"add {', '.join(missing)} to {FULL.relative_to(REPO)}"
    shown = {key for phase in yaml.load(FULL.read_text(), Loader)["phases"].values() for key in phase}  # noqa: S506
    fields = set(Phase.__dataclass_fields__) - shown
    assert not fields, f"set {fields} on a phase of {FULL.relative_to(REPO)}"


@pytest.mark.parametrize("word", ["16:00", "on", "yes", "no", "off", "2013-01-01", "1_000", "0x10", "12e", "y", "=", "<<"])
def test_a_bare_word_has_its_type_of_yaml_1_2(word, tmp_path):
    """By default, PyYAML reads these as numbers, booleans and dates."""
    assert problems(tmp_path, checked(f"accepted_values: {{column: a, values: [{word}]}}")) == []
    (check,) = load(tmp_path / "o.yaml").phases["raw"].outputs["raw.orders"].checks
    assert check.values == (word,)


def test_values_keep_their_type(tmp_path):
    """Text, whole numbers, numbers and booleans are not converted."""
    for written, values in {
        "[1, -2]": (1, -2),
        "[1.5, 1e3]": (Decimal("1.5"), Decimal("1000.0")),
        f"[{2**70 + 1}, 0.12345678901234567890123]": (2**70 + 1, Decimal("0.12345678901234567890123")),
        '["1"]': ("1",),
        "[true, False]": (True, False),
    }.items():
        assert problems(tmp_path, checked(f"accepted_values: {{column: a, values: {written}}}")) == []
        (check,) = load(tmp_path / "o.yaml").phases["raw"].outputs["raw.orders"].checks
        assert repr(check.values) == repr(values)


def test_aliases_may_repeat_values(tmp_path):
    """As in Terraform, which reads the same file."""
    content = MINIMAL.replace("date: day", "date: &day day\n        key: &key [*day, id]\n        sample: *key")
    assert problems(tmp_path, content) == []
    assert load(tmp_path / "o.yaml").phases["raw"].outputs["raw.orders"].sample == ("day", "id")


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (
            "row_count",
            [f'{CHECK}: expected a mapping, got "row_count" (write row_count: {{…}})'],
        ),
        ("[1]", [f"{CHECK}: expected a mapping, got a list of 1"]),
        ("{}", [f"{CHECK}: expected one key, the kind of check"]),
        (
            "{row_count: , at_least: 1}",
            [
                f"{CHECK}.row_count: expected a mapping, got nothing",
                f'{CHECK}: unknown kind of check "at_least" (known: {", ".join(KINDS)})',
            ],
        ),
        (
            "{unique: {columns: [a]}, not_null: {columns: [a]}}",
            [f"{CHECK}: expected one key, the kind of check"],
        ),
        ("row_count:", [f"{CHECK}.row_count: expected a mapping, got nothing"]),
        ("row_cuont: {at_least: 1}", [f'{CHECK}: unknown kind of check "row_cuont" (did you mean row_count?)']),
        ("volume: {}", [f'{CHECK}: unknown kind of check "volume" (known: {", ".join(KINDS)})']),
        (
            "matches: {bewteen: 1, column: a, pattern: b}",
            [
                f'{CHECK}.matches: unknown key "bewteen" '
                "(known: where, severity, mode, weight, name, only_in, skip_in, judge_empty, at_most, acceptable, column, pattern)"
            ],
        ),
        (
            "matches: {patern: b, column: a}",
            [
                f'{CHECK}.matches: missing key "pattern"',
                f'{CHECK}.matches: unknown key "patern" (did you mean pattern? '
                "known: where, severity, mode, weight, name, only_in, skip_in, judge_empty, at_most, acceptable, column, pattern)",
            ],
        ),
        ("row_count: {at_least: many}", [f'{CHECK}.row_count.at_least: expected a number, got "many"']),
        ('row_count: {at_least: "5"}', [f'{CHECK}.row_count.at_least: expected a number, got "5"']),
        ("row_count: {at_least: .nan}", [f"{CHECK}.row_count.at_least: expected a number, got .nan"]),
        ("row_count: {at_least: 1e999}", [f"{CHECK}.row_count.at_least: expected a number, got 1e999"]),
        ("row_count: {at_least: !!int x}", [f"{CHECK}.row_count.at_least: expected a number, got x"]),
        ("row_count: {at_least: !money 5}", [f"{CHECK}.row_count.at_least: expected a number, got a value tagged !money"]),
        ("row_count: {between: [1]}", [f"{CHECK}.row_count.between: expected a longer list"]),
        ("row_count: {between: []}", [f"{CHECK}.row_count.between: expected a longer list"]),
        ("row_count: {between: [1, 2, 3]}", [f"{CHECK}.row_count.between: expected a list of 2, got a list of 3"]),
        ("row_count: {between: 1}", [f"{CHECK}.row_count.between: expected a list, got 1"]),
        ("row_count: {between: [1, b]}", [f'{CHECK}.row_count.between[1]: expected a number, got "b"']),
        ("row_count: {between: [2, 1]}", [f"{CHECK}.row_count: expected bounds with the smaller number first"]),
        ("row_count: {per: [a], at_least: 1}", [f"{CHECK}.row_count.per: expected text or a mapping, got a list of 1"]),
        (
            "row_count: {per: {}, at_least: 1}",
            [f'{CHECK}.row_count.per: missing key "table"'],
        ),
        (
            "row_count: {per: {table: flights}, at_least: 1}",
            [f'{CHECK}.row_count.per.table: expected a table name like dataset.table, got "flights"'],
        ),
        (
            "row_count: {per: raw.items, at_least: 1}",
            [f'{CHECK}.row_count.per: expected `expected` or a table whose run date column the file declares, got "raw.items"'],
        ),
        ("unique: {columns: [id], acceptable: 1.5}", [f"{CHECK}.unique.acceptable: expected a whole number, got 1.5"]),
        ("unique: {columns: [id], acceptable: -1}", [f"{CHECK}.unique.acceptable: expected a number ≥ 0, got -1"]),
        ("not_null: {columns: id}", [f'{CHECK}.not_null.columns: expected a list, got "id" (write [id])']),
        ("not_null: {columns: [1]}", [f"{CHECK}.not_null.columns[0]: expected a column name, got 1"]),
        ("not_null: {columns: [id;--]}", [f'{CHECK}.not_null.columns[0]: expected a column name, got "id;--"']),
        ("not_null: {columns: [id], at_most: 5}", [f"{CHECK}.not_null.at_most: expected a number ≤ 1, got 5"]),
        (
            "not_null: {columns: [id], severity: blok}",
            [f"{CHECK}.not_null.severity: expected 'block' or 'warn', got \"blok\" (did you mean block?)"],
        ),
        ("not_null: {columns: [id], where: 1}", [f'{CHECK}.not_null.where: expected text, got 1 (write "1")']),
        ("not_null: {columns: [id], where: }", [f"{CHECK}.not_null.where: expected text, got nothing"]),
        (
            "not_null: {columns: [a], columns: [b]}",
            [f"{CHECK}.not_null.columns: expected once, got it again (first on line 9)"],
        ),
        ("not_null: {columns: [a], ? [b] : c}", [f"{CHECK}.not_null: expected a key that is text, got a list of 1"]),
        (
            "accepted_values: {column: a, values: [{}]}",
            [f"{CHECK}.accepted_values.values[0]: expected a number or text or true or false"],
        ),
        ("fresh: {column: a, within: 26}", [f"{CHECK}.fresh.within: expected a duration like 90s, 30m, 4h or 7d, got 26"]),
        (
            'invariant: {that: "a\\e[31m\\nb", name: [c]}',
            [f"{CHECK}.invariant.name: expected text, got a list of 1"],
        ),
        ('sql: {query: "a", acceptable: "\\e[31m\\n"}', [f'{CHECK}.sql.acceptable: expected a whole number, got "·[31m·"']),
    ],
)
def test_a_wrong_check_gives_one_clear_line(check, expected, tmp_path):
    """Where, expected, got and what to do; one line per problem, even when the key accepts several types."""
    assert problems(tmp_path, checked(check)) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "pipeline: orders",
            "pipeline: 1",
            ["o.yaml:1: pipeline: expected a name of lower-case letters, digits and _, at most 40, got 1"],
        ),
        (
            "pipeline: orders",
            "name: orders",
            [
                'o.yaml:1: missing key "pipeline"',
                'o.yaml:1: unknown key "name" (known: pipeline, timezone, calendar, messages, phases, alerts, unwatched)',
            ],
        ),
        ("from: 2013-01-01", "from: TODAY", ['o.yaml:2: calendar.from: expected a date like 2013-02-08, got "TODAY"']),
        (
            "from: 2013-01-01",
            "from_: 2013-01-01",
            [
                'o.yaml:2: calendar: missing key "from"',
                'o.yaml:2: calendar: unknown key "from_" '
                "(did you mean from? known: from, to, weekdays, closed, expected, parts)",
            ],
        ),
        (
            "from: 2013-01-01",
            "from: 2013-01-01, parts: {a: {from: 9999-12-31, days: 9}}",
            [
                "o.yaml:1: expected dates before the year 10000",
            ],
        ),
        (
            "from: 2013-01-01",
            "from: 2013-01-01, weekdays: [mon]",
            [
                "o.yaml:2: calendar.weekdays: expected week days like mon-fri or sat,sun, got a list of 1",
            ],
        ),
        (
            "calendar:",
            "timezone: America\ncalendar:",
            ['o.yaml:2: timezone: expected a time zone like America/New_York, got "America"'],
        ),
        ("  raw:\n", "  - raw:\n", ["o.yaml:3: phases: expected a mapping, got a list of 1"]),
        (
            "  raw:\n",
            "  Raw:\n",
            ['o.yaml:4: phases.Raw: expected a name of lower-case letters, digits and _, at most 40, got "Raw"'],
        ),
        (
            "raw.orders:",
            "orders:",
            ['o.yaml:6: phases.raw.outputs.orders: expected a table name like dataset.table, got "orders"'],
        ),
        (
            "date: day",
            "date: day\n        date: day",
            [
                'o.yaml:8: phases.raw.outputs["raw.orders"].date: expected once, got it again (first on line 7)',
            ],
        ),
        (
            "    outputs:",
            "    mode: pause\n    due: 6am\n    outputs:",
            [
                'o.yaml:6: phases.raw.due: expected a due time like 06:00 +1d or 2h after raw, got "6am"',
            ],
        ),
        (
            "    outputs:",
            "    due: 2h after load\n    mode: pause\n    after: [raw]\n    outputs:",
            [
                "o.yaml:4: phases.raw: expected until with mode: pause, so that the pause ends",
                'o.yaml:5: phases.raw.due: expected a phase that is listed in after, got "load"',
                "o.yaml:7: phases.raw.after: expected phases in an order, got a cycle",
            ],
        ),
        (
            "    outputs:",
            "    quorum: {at_least: 0, of: 1}\n    outputs:",
            [
                "o.yaml:5: phases.raw.quorum.at_least: expected a number ≥ 1, got 0",
            ],
        ),
        (
            "    outputs:",
            "    signal: {version: 2}\n    outputs:",
            ['o.yaml:5: phases.raw.signal.version: expected text, got 2 (write "2")'],
        ),
        (
            "    outputs:",
            "    signal: {date: $run_date, day: $rundate, phase: x}\n    outputs:",
            [
                "o.yaml:5: phases.raw.signal.day: expected one of $pipeline, $phase, $start, $run_date, $generation, $decision_id,"
                ' $degraded, $missing, $upstream, $score, $correlation_id, $at, $traceparent, got "$rundate"',
                'o.yaml:5: phases.raw.signal.phase: expected a name that is not a field of the go-signal, got "phase"',
            ],
        ),
        (
            "pipeline: orders",
            "alerts: {destinations: {mail: {kind: email}, chat: {kind: slack, webhook: http://x},\n"
            '  boss: {kind: email, to: ["c@d\\nBcc: e@f"]}}}\npipeline: orders',
            [
                "o.yaml:1: alerts.destinations.mail: expected at least one address in to for kind email",
                'o.yaml:1: alerts.destinations.chat.webhook: expected a reference like secret://chat-webhook, got "http://x"',
                'o.yaml:2: alerts.destinations.boss.to[0]: expected a mail address like data@example.com, got "c@d·Bcc: e@f"',
            ],
        ),
    ],
)
def test_a_wrong_file_gives_one_line_per_problem(old, new, expected, tmp_path):
    """All problems are reported together, in the order of the file."""
    assert old in MINIMAL
    content = MINIMAL.replace(old, new)
    if "- raw" in new:
        content = content[: content.index("    outputs")]
    assert problems(tmp_path, content) == expected


def test_all_problems_are_reported_together_by_line(tmp_path):
    """Wrong values, unknown keys and missing keys anywhere in the file."""
    content = dedent("""\
        alerts:
          rutes: []
        calendar:
          closed: [2013-02-30, 2013-02-02..2013-02-01]
        phases:
          raw:
            outputs: {raw.a: {}, raw.b: [x]}
    """)
    assert problems(tmp_path, content) == [
        'o.yaml:1: missing key "pipeline"',
        'o.yaml:2: alerts: unknown key "rutes" (did you mean routes? known: destinations, mail, routes)',
        'o.yaml:3: calendar: missing key "from"',
        "o.yaml:4: calendar.closed[0]: expected a date like 2013-12-25 or a range like 2013-12-24..2014-01-02, "
        'got "2013-02-30"',
        'o.yaml:4: calendar.closed[1]: expected a range with the earlier date first, got "2013-02-02..2013-02-01"',
        'o.yaml:7: phases.raw.outputs["raw.a"]: missing key "date"',
        'o.yaml:7: phases.raw.outputs["raw.b"]: expected a mapping, got a list of 1',
    ]


WRONG_VALUES = {
    "pipeline": "Orders",
    "timezone": "America",
    "calendar": {
        "from": "TODAY",
        "weekdays": "monday",
        "closed": [1],
        "expected": {"date": "a;b", "count": 1},
        "parts": {"a": {"days": 0}},
    },
    "messages": {"phase": 1, "status": {"done": "ok"}},
    "phases": {
        "raw": {
            "producers": {"job": {"optional": "yes"}},
            "due": "6am",
            "mode": "stop",
            "quorum": {"of": 1.5},
            "retry": {"first": "soon"},
            "signal": {"version": 2},
            "outputs": {
                "raw.orders": {"date": None, "checks": [{"row_count": {"weight": -1}}, {kind: {"where": 1} for kind in KINDS}]}
            },
        }
    },
    "alerts": {
        "destinations": {"chat": {"kind": "irc"}},
        "routes": [{"severity": "high", "escalate": {"after": 1}, "digest": "8:00", "quiet": "night"}],
    },
    "unwatched": ["planes", 7],
}


def places(value: object, at: str) -> list[str]:
    """The paths of all values within a nested one."""
    if isinstance(value, dict):
        return [path for key, inner in value.items() for path in places(inner, place_below(at, key))]
    if isinstance(value, list):
        return [path for n, inner in enumerate(value) for path in places(inner, f"{at}[{n}]")]
    return [at]


def place_below(at: str, key: str) -> str:
    return f'{at}["{key}"]' if "." in key else f"{at}.{key}".removeprefix(".")


def test_every_section_reports_its_problems_together(tmp_path):
    """No section hides problems of another one, or its own."""
    paths = [line.split(": ")[1] for line in problems(tmp_path, yaml.safe_dump(WRONG_VALUES, sort_keys=False))]
    assert set(places(WRONG_VALUES, "")) - set(paths) == set()
    top = {re.split(r"[.\[]", path)[0] for path in paths}
    assert top == {field.rstrip("_") for field in Pipeline.__dataclass_fields__}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "o.yaml: expected a pipeline, got an empty file"),
        ("# nothing but words\n", "o.yaml: expected a pipeline, got an empty file"),
        ("[]", "o.yaml:1: expected a mapping, got a list of 0"),
        ("orders", 'o.yaml:1: expected a mapping, got "orders"'),
        ("a: b: c", "o.yaml:1: not YAML: mapping values are not allowed in this context"),
        ("a:\n\t- b", "o.yaml:2: not YAML: while scanning for the next token, found character that cannot start any token"),
        ("a: 1\n---\nb: 2", "o.yaml:2: not YAML: expected a single document in the stream, but found another document"),
        ("a: *b", "o.yaml:1: not YAML: found undefined alias"),
        (b"a: 1\nb: \xff", "o.yaml:2: expected UTF-8, got the byte 0xff"),
        ("a: \x01", "o.yaml: not YAML: unacceptable character #x0001: control characters are not allowed"),
        ("[" * 100_000, "o.yaml: expected at most 50 levels of nesting"),
        ("- " * 100_000, "o.yaml: expected at most 50 levels of nesting"),
        (
            "!!python/object/apply:os.system [ls]",
            "o.yaml:1: expected a mapping, got a value tagged tag:yaml.org,2002:python/object/apply:os.system",
        ),
    ],
)
def test_a_file_that_is_no_yaml_mapping_gives_one_line(content, expected, tmp_path):
    """And never a traceback or a crash."""
    assert problems(tmp_path, content) == [expected]


def test_aliases_of_aliases_have_a_limit(tmp_path):
    """A small file can't expand to a huge one."""
    keys = ", ".join(["id"] * 1000)
    content = f"{MINIMAL}        key: &a [{keys}]\n" + "".join(
        f"      raw.t{n}: {{date: day, key: *a, sample: *a}}\n" for n in range(100)
    )
    assert problems(tmp_path, content) == ["o.yaml: expected at most 100,000 values, aliases followed"]


def test_an_alias_of_itself_is_refused(tmp_path):
    """It nests without end."""
    assert problems(tmp_path, MINIMAL.replace("date: day", "date: day\n        key: &a [*a]")) == [
        "o.yaml: expected at most 50 levels of nesting"
    ]


ODD = (
    "",
    "[",
    "]",
    "{",
    ":",
    "- ",
    "~",
    "-1",
    "1e999",
    ".nan",
    "true",
    "!!map",
    "!!int",
    "!x",
    "&a",
    "*a",
    "'",
    '"',
    "\n",
    "|",
)


@given(
    st.integers(min_value=0), st.sampled_from([*ODD, "9" * 5000, "é", "\0", "2013-02-29", "99999d", "9999-12-31", "America"])
)
def test_a_file_is_read_or_refused(tmp_path_factory, position, replacement):
    """Whatever replaces a word, every line of the error names the file."""
    words = re.findall(r"\w+|\W", FULL.read_text(encoding="utf-8"))
    words[position % len(words)] = replacement
    lines = problems(tmp_path_factory.getbasetemp(), "".join(words))
    assert all(re.match(r"o\.yaml(:\d+)?: .", line) for line in lines)


def test_a_byte_order_mark_is_ignored(tmp_path):
    """Some editors write one."""
    assert problems(tmp_path, MINIMAL.encode("utf-8-sig")) == []


def test_a_missing_file_is_a_config_error(tmp_path):
    """Not a traceback."""
    with pytest.raises(ConfigError, match=r"none\.yaml: expected a file that can be read, got No such file or directory$"):
        load_all(tmp_path / "none.yaml")


def test_a_folder_gives_its_pipelines_by_file_name(tmp_path):
    """A single file gives one pipeline."""
    (tmp_path / "b.yaml").write_text(MINIMAL)
    (tmp_path / "a.yaml").write_text(MINIMAL.replace("orders", "flights"))
    (tmp_path / "pipeline.schema.json").write_text("{}")
    assert [pipeline.name for pipeline in load_all(tmp_path)] == ["flights", "orders"]
    assert [pipeline.name for pipeline in load_all(tmp_path / "b.yaml")] == ["orders"]


def test_hidden_files_are_no_pipelines(tmp_path):
    (tmp_path / "a.yaml").write_text(MINIMAL)
    (tmp_path / ".#a.yaml").symlink_to("nobody@nowhere")
    (tmp_path / "._a.yaml").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / ".b.yaml").write_text(MINIMAL)
    (tmp_path / ".c.yml").write_text(MINIMAL)
    assert [pipeline.name for pipeline in load_all(tmp_path)] == ["orders"]


def test_a_folder_reports_the_problems_of_all_files(tmp_path):
    """Among them a file with the wrong ending and a name that is used twice."""
    for name, content in {"a.yaml": MINIMAL, "b.yaml": "[]", "c.yaml": MINIMAL, "d.yml": MINIMAL}.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_all(tmp_path)
    assert str(caught.value).replace(f"{tmp_path}/", "").splitlines() == [
        "d.yml: expected the ending .yaml",
        "b.yaml:1: expected a mapping, got a list of 0",
        'c.yaml: pipeline: expected a name that differs from the one in a.yaml, got "orders"',
    ]


def test_an_empty_folder_is_an_error(tmp_path):
    """A monitor without pipelines would never report anything."""
    with pytest.raises(ConfigError, match=r"expected at least one file \*\.yaml$"):
        load_all(tmp_path)


def test_the_schema_beside_the_files_is_current():
    """Editors read the file, `load` the model."""
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), "run `make schema`"
    jsonschema.Draft202012Validator.check_schema(json_schema())


def accepted(content: str) -> bool:
    """True when the schema has no complaint."""
    return jsonschema.Draft202012Validator(json_schema()).is_valid(yaml.load(content, Loader))  # noqa: S506


@pytest.mark.parametrize("file", [FULL, *SCHEMA.parent.glob("*.yaml")], ids=lambda file: file.name)
def test_the_schema_accepts_good_files(file):
    """What `load` accepts, editors accept."""
    assert load(file)
    assert accepted(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("between: [0.98, 1.02]", "bewteen: [0.98, 1.02]"),
        ("between: [0.98, 1.02]", "between: [0.98]"),
        ("row_count: {per: expected", "row_cuont: {per: expected"),
        ("- unique: {columns: [flight_id], acceptable: 2}", "- unique"),
        ("- unique: {columns: [flight_id], acceptable: 2}", "- {unique: {columns: [a]}, not_null: {columns: [a]}}"),
        ("from: 2013-01-01", "from: TODAY"),
        ("from: 2013-01-01", "from_: 2013-01-01"),
        ("due: 06:00 +1d", "due: 6am"),
        ("attempts: 4", 'attempts: "4"'),
        ("attempts: 4", "attempts: 0"),
        ("at_most: 0.10", "at_most: 10"),
        ("severity: warn", "severity: wran"),
        ("  raw:\n", "  Raw:\n"),
        ("      raw.flights:\n", "      flights:\n"),
        ("secret://chat-webhook", "https://chat.example.com/token"),
        ("pipeline: flights\n", ""),
    ],
)
def test_the_schema_refuses_what_load_refuses(old, new, tmp_path):
    """Misspelt keys, wrong values and missing ones."""
    content = FULL.read_text(encoding="utf-8")
    assert old in content
    content = content.replace(old, new, 1)
    assert problems(tmp_path, content)
    assert not accepted(content)


def test_the_schema_describes_every_class():
    """Editors show the docstrings; an item of `checks` has exactly one of the kinds."""
    defs = json_schema()["$defs"]
    silent = [name for name, each in defs.items() if not each.get("description")]
    assert not silent, f"give {', '.join(silent)} a docstring: the README and editors show its first sentence"
    assert defs["Output"]["properties"]["date"]["description"].startswith("The run date (partition) column")
    assert defs["RowCount"]["properties"]["where"]["description"].startswith("Judge only rows for which")
    item = defs["Output"]["properties"]["checks"]["items"]
    assert set(item["properties"]) == set(KINDS)
    assert (item["minProperties"], item["maxProperties"]) == (1, 1)
    assert not re.search(r"from_|kind_", json.dumps(defs))


def test_reading_a_file_loads_little():
    """A command loads YAML, the model and its validation, but no client library."""
    code = "import sys, pathlib, phasegate.app.pipeline_file as f; f.load(pathlib.Path(sys.argv[1])); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code, FULL], capture_output=True, text=True, check=True)
    assert {"duckdb", "sqlglot", "pandas", "jsonschema"} & set(run.stdout.split()) == set()
