"""Sources of settings, and errors in them."""

from pathlib import Path

import pytest
from phasegate.adapters.warehouse.bigquery import DEFAULT_MAX_BYTES_BILLED
from phasegate.app.settings import Location, Setting, Settings
from phasegate.errors import ConfigError


def lines(caught: pytest.ExceptionInfo[ConfigError]) -> list[str]:
    """The problems as they are printed."""
    return str(caught.value).splitlines()


def test_an_option_wins_over_a_variable_over_a_default(tmp_path):
    """Each setting remembers where its value came from."""
    settings = Settings.resolve(
        {"warehouse": "duckdb:a.duckdb", "state": None},
        {"PHASEGATE_WAREHOUSE": "bigquery:my-project", "PHASEGATE_STATE": "firestore:my-project/(default)"},
        tmp_path,
    )
    assert settings.entries == (
        Setting("pipelines", None, "not set"),
        Setting("warehouse", "duckdb:a.duckdb", "--warehouse"),
        Setting("state", "firestore:my-project/(default)", "PHASEGATE_STATE"),
        Setting("bus", "local:", "default"),
        Setting("secrets", "env:", "default"),
        Setting("acknowledge_url", None, "not set"),
        Setting("link_key", None, "not set"),
        Setting("maximum_bytes_billed", "107374182400", "default"),
    )
    assert settings.state == Location("firestore", "my-project/(default)")
    assert settings.bus == Location("local")


def test_a_default_counts_only_if_its_file_exists(tmp_path):
    """A fresh clone with the demo's files needs no setting."""
    (tmp_path / "shared/pipelines").mkdir(parents=True)
    (tmp_path / ".phasegate/demo").mkdir(parents=True)
    (tmp_path / ".phasegate/demo/warehouse.duckdb").touch()
    settings = Settings.resolve({}, {}, tmp_path)
    assert [setting.source for setting in settings.entries][:4] == ["default", "default", "not set", "default"]
    assert settings.pipelines == tmp_path / "shared/pipelines"
    assert settings.warehouse == Location("duckdb", str(tmp_path / ".phasegate/demo/warehouse.duckdb"))


def test_the_error_for_a_missing_setting_says_how_to_set_it(tmp_path):
    """It is an error only when it is needed, and all missing ones are reported together."""
    settings = Settings.resolve({}, {}, tmp_path)
    with pytest.raises(ConfigError) as caught:
        _ = settings.warehouse
    assert lines(caught) == ["warehouse: expected a value, got nothing (set --warehouse or PHASEGATE_WAREHOUSE)"]
    with pytest.raises(ConfigError) as caught:
        settings.require("pipelines", "state", "bus")
    assert lines(caught) == [
        "pipelines: expected a value, got nothing (set --pipelines or PHASEGATE_PIPELINES)",
        "state: expected a value, got nothing (set --state or PHASEGATE_STATE)",
    ]


def test_the_limit_of_billed_bytes_comes_from_the_environment(tmp_path):
    """It is the same for every command and function; too low a limit is refused at the start, not at the first event."""
    environ = {"PHASEGATE_MAXIMUM_BYTES_BILLED": "10485760"}
    assert Settings.resolve({}, environ, tmp_path).maximum_bytes_billed == 10_485_760
    assert Settings.resolve({}, {}, tmp_path).maximum_bytes_billed == DEFAULT_MAX_BYTES_BILLED
    for wrong in ("1 TiB", "10485759", "1e9", "-1"):
        with pytest.raises(ConfigError) as caught:
            Settings.resolve({}, {"PHASEGATE_MAXIMUM_BYTES_BILLED": wrong}, tmp_path)
        assert lines(caught) == [
            f'PHASEGATE_MAXIMUM_BYTES_BILLED: expected a whole number of bytes, at least 10485760, got "{wrong}"'
        ]


def test_an_empty_variable_counts_as_not_set(tmp_path):
    """Shells and Terraform leave empty variables behind."""
    assert Settings.resolve({}, {"PHASEGATE_STATE": ""}, tmp_path).entries[2] == Setting("state", None, "not set")


def test_all_wrong_settings_are_reported_together(tmp_path):
    """Each with its source, the expected form and the value."""
    with pytest.raises(ConfigError) as caught:
        Settings.resolve(
            {"warehouse": "bigqery:my-project", "pipelines": ""},
            {"PHASEGATE_STATE": "firestore:my-project", "PHASEGATE_BUS": "kafka:broker"},
            tmp_path,
        )
    assert lines(caught) == [
        '--pipelines: expected a file or a folder, got ""',
        '--warehouse: expected duckdb:PATH or bigquery:PROJECT[/LOCATION], got "bigqery:my-project" (did you mean bigquery?)',
        'PHASEGATE_STATE: expected sqlite:PATH or firestore:PROJECT/DATABASE, got "firestore:my-project"',
        'PHASEGATE_BUS: expected local: or pubsub:PROJECT[/PREFIX], got "kafka:broker"',
    ]


@pytest.mark.parametrize(
    ("name", "text", "location"),
    [
        ("warehouse", "duckdb:data/flights.duckdb", Location("duckdb", "data/flights.duckdb")),
        ("warehouse", "duckdb:/data/with:colon", Location("duckdb", "/data/with:colon")),
        ("warehouse", "bigquery:my-project-1", Location("bigquery", "my-project-1")),
        ("warehouse", "bigquery:my-project/europe-west2", Location("bigquery", "my-project/europe-west2")),
        ("warehouse", "bigquery:my-project/EU", Location("bigquery", "my-project/EU")),
        ("warehouse", "bigquery:example.com:my-project", Location("bigquery", "example.com:my-project")),
        ("state", "sqlite::memory:", Location("sqlite", ":memory:")),
        ("state", "firestore:my-project/gates", Location("firestore", "my-project/gates")),
        ("bus", "local:", Location("local")),
        ("bus", "pubsub:my-project", Location("pubsub", "my-project")),
        ("bus", "pubsub:my-project/team-a", Location("pubsub", "my-project/team-a")),
    ],
)
def test_a_location_is_a_scheme_and_an_address(name, text, location):
    """Relative paths stay relative to the settings' folder."""
    settings = Settings.resolve({name: text}, {}, Path())
    assert getattr(settings, name) == location
    assert str(location) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("warehouse", "duckdb"),
        ("warehouse", "duckdb:"),
        ("warehouse", "bigquery:My Project"),
        ("warehouse", "bigquery:"),
        ("warehouse", "bigquery:my-project/us central"),
        ("warehouse", "sqlite:state.sqlite"),
        ("state", "firestore:my-project/"),
        ("state", "firestore:my-project/Gates"),
        ("bus", "local"),
        ("bus", "local:x"),
        ("bus", "pubsub:"),
        ("bus", "pubsub:my-project/"),
        ("bus", "pubsub:my-project/Team_A"),
    ],
)
def test_a_malformed_location_is_refused(name, text, tmp_path):
    """Before anything is opened."""
    with pytest.raises(ConfigError, match=rf'^--{name}: expected .*, got "{text}"'):
        Settings.resolve({name: text}, {}, tmp_path)
