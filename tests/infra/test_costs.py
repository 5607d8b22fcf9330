"""The table of costs: its sums, its edges, and its counts of the module's resources."""

import runpy
import subprocess
import sys
from dataclasses import fields, replace
from itertools import pairwise

import pytest

from tests.infra.conftest import REPOSITORY
from tests.terraform import INFRA, PIPELINES, Module

COSTS = runpy.run_path(str(INFRA / "costs.py"))
USUAL = COSTS["Assumptions"]()


def dollars(gates: float, *, free: bool = False, **assumed: float) -> dict[str, float]:
    return dict(COSTS["costs"](gates, replace(USUAL, **assumed), free=free))


def test_every_assumption_is_explained_and_every_unit_has_a_price() -> None:
    assert {field.name for field in fields(USUAL)} == set(COSTS["EXPLANATIONS"])
    used = {what for each in COSTS["usage"](10, USUAL).values() for what in each}
    assert used == set(COSTS["PRICES"])


def test_sums_are_those_of_the_rows() -> None:
    rows = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in COSTS["table"]((10, 1_000), USUAL).splitlines()]
    numbers = {row[0]: [float(cell.replace(",", "")) for cell in row[1:]] for row in rows[2:] if len(row) == 3}
    total = numbers.pop("All, by list price")
    beyond = numbers.pop("All, beyond the free quotas")
    assert len(numbers) == 10
    for column in (0, 1):
        assert sum(each[column] for each in numbers.values()) == pytest.approx(total[column], abs=0.06)
        assert 0 < beyond[column] < total[column]


def test_each_service_against_a_manual_calculation() -> None:
    """30 days of one gate a day with one report, and 43,200 ticks."""
    found = dollars(1, reports=1, tables=1, gib=1, window=10, tick=1, tick_gate=0, drift=0, deployments=1, deploying=10)
    assert found["BigQuery"] == pytest.approx(30 / 1024 * 6.25)
    assert found["Cloud Build"] == pytest.approx(10 * 0.006)
    assert found["Scheduler"] == pytest.approx(0.20)
    assert found["Functions"] == pytest.approx((43_200 + 120) * 26.5e-6 + 43_200 * 0.4e-6, rel=0.03)
    assert found["Firestore"] == pytest.approx((43_200 * 30 + 45 * 11) * 0.06e-5 + 43_200 * 0.18e-5, rel=0.03)


def test_more_gates_never_cost_less_and_quotas_never_make_a_bill_negative() -> None:
    for free in (False, True):
        bills = [dollars(gates, free=free) for gates in (0, 10, 100, 1_000, 10_000)]
        for fewer, more in pairwise(bills):
            assert all(0 <= fewer[service] <= more[service] for service in fewer)


def test_a_small_table_is_billed_as_10_mb() -> None:
    assert dollars(10, gib=0.0001)["BigQuery"] == dollars(10, gib=10 / 1024)["BigQuery"]


def test_the_command_takes_other_figures() -> None:
    command = [sys.executable, str(INFRA / "costs.py"), "250", "--gib", "2"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told == COSTS["table"]([250.0], replace(USUAL, gib=2.0))
    assert "at | 250 gates a day |" in told


def test_it_counts_the_resources_of_the_module(demo: Module) -> None:
    assert demo.variables["repository"] == REPOSITORY
    assert demo.variables["pipelines"] == str(PIPELINES)
    assert len(demo.resources("google_cloudfunctions2_function")) == COSTS["FUNCTION_COUNT"]
    assert len(demo.resources("google_cloud_scheduler_job")) == COSTS["JOBS"]
    policies = demo.resources("google_monitoring_alert_policy").values()
    assert sum(len(policy["conditions"]) for policy in policies) == COSTS["CONDITIONS"]
