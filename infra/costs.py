"""The monthly cost of an installation, from the list prices and assumptions in this file.

    python infra/costs.py                 for 10, 100 and 1,000 gates a day, as in infra/README.md
    python infra/costs.py 250 --gib 2     for 250 gates a day, when measuring one table reads 2 GiB

A gate is one phase on one run date. This needs only the standard library.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

DAYS = 30
TICKS = DAYS * 24 * 60
CHECKS = DAYS * 24
GIB = 2**30
FUNCTION_COUNT, JOBS, CONDITIONS = 7, 2, 6
"""Functions, scheduler jobs and alert conditions of the module, with a repository; a test counts them."""


@dataclass(frozen=True)
class Price:
    """A list price in US dollars per unit, in us-central1 and nam5.

    Args:
        free: The monthly free quota of a billing account, in units.
        source: The price list.
    """

    dollars: float
    free: float
    source: str


RUN = "cloud.google.com/run/pricing, request-based"
FIRESTORE = "cloud.google.com/firestore/pricing"
PRICES: Mapping[str, Price] = {
    "vCPU second": Price(24e-6, 180_000, RUN),
    "GiB second of memory": Price(2.5e-6, 360_000, RUN),
    "request": Price(0.40e-6, 2e6, RUN),
    # One database of a project has a free quota, which another one may use up; it is not counted.
    "document read": Price(0.06e-5, 0, FIRESTORE),
    "document written": Price(0.18e-5, 0, FIRESTORE),
    "document deleted": Price(0.02e-5, 0, FIRESTORE),
    "GiB of documents": Price(0.18, 0, FIRESTORE),
    "GiB of backups": Price(0.03, 0, FIRESTORE),
    "TiB read by queries": Price(6.25, 1, "cloud.google.com/bigquery/pricing, on demand"),
    "TiB of messages": Price(40, 10 / 1024, "cloud.google.com/pubsub/pricing"),
    "TiB of messages into BigQuery": Price(50, 0, "cloud.google.com/pubsub/pricing"),
    "minute of building": Price(0.006, 2_500, "cloud.google.com/build/pricing, e2-standard-2"),
    "scheduler job": Price(0.10, 3, "cloud.google.com/scheduler/pricing"),
    "secret": Price(0.06, 6, "cloud.google.com/secret-manager/pricing"),
    "condition of an alert policy": Price(0.10, 0, "cloud.google.com/stackdriver/pricing"),
    "GiB of logs": Price(0.50, 50, "cloud.google.com/stackdriver/pricing"),
    "GiB of images": Price(0.10, 0.5, "cloud.google.com/artifact-registry/pricing"),
}


@dataclass(frozen=True)
class Assumptions:
    """Assumptions about the pipelines; `EXPLANATIONS` explains each field."""

    reports: float = 3
    tables: float = 2
    gib: float = 0.05
    alerts: float = 0.1
    window: float = 10
    phases: float = 5
    judging: float = 4
    tick: float = 1
    tick_gate: float = 0.0005
    kept: float = 365
    gate_kib: float = 30
    secrets: float = 3
    drift: float = 2
    deployments: float = 10
    deploying: float = 25


EXPLANATIONS: Mapping[str, str] = {
    "reports": "completion messages per gate, with late and repeated ones; each is measured",
    "tables": "tables that a phase must have produced",
    "gib": "GiB read to measure one table on one run date",
    "alerts": "alerts per gate, with reminders and recoveries",
    "window": "run dates that each tick checks",
    "phases": "phases of a pipeline",
    "judging": "seconds to handle a message, with 1 vCPU and 1 GiB",
    "tick": "seconds per tick, with 1 vCPU and 1 GiB",
    "tick_gate": "seconds more per gate that the tick checks",
    "kept": "days of stored gates: one year of operation",
    "gate_kib": "KiB per gate with its history, outbox and indexes",
    "secrets": "secrets that pipeline files name",
    "drift": "minutes per hourly drift check",
    "deployments": "deployments",
    "deploying": "minutes per deployment, with the builds of its functions",
}


def usage(gates: float, of: Assumptions) -> Mapping[str, Mapping[str, float]]:
    """Monthly usage, by service and unit of price.

    Args:
        gates: Gates a day.
    """
    reports = gates * DAYS * of.reports
    alerts = gates * DAYS * of.alerts
    seen = gates * of.window
    seconds = reports * of.judging + TICKS * (of.tick + seen * of.tick_gate)
    # Alerts and drift checks take a second each, with a third of a vCPU and half a GiB.
    small = alerts + CHECKS
    decided = reports * 1.5  # the gate of a message, and sometimes that of a follower
    stored = gates * of.kept * of.gate_kib / 2**20
    return {
        "Functions": {
            "vCPU second": seconds + small / 3,
            "GiB second of memory": seconds + small / 2,
            "request": reports + TICKS + small,
        },
        "Firestore": {
            # A tick reads the gates of its window and about 20 other documents; a message reads those of its date and its marker.
            "document read": TICKS * (seen + 20) + decided * (of.phases + 6) + alerts * 10,
            # Gate, history, marker, two outbox entries and their two updates; the heartbeat of a tick.
            "document written": decided * 7 + TICKS + alerts * 6,
            "document deleted": decided * 4 + alerts * 2,
            "GiB of documents": stored,
            "GiB of backups": stored * 14,
        },
        "BigQuery": {"TiB read by queries": reports * of.tables * max(of.gib, 10 / 1024) / 1024},
        # Each message is published and pushed, and is billed as at least 1 kB.
        "Pub/Sub": {
            "TiB of messages": (TICKS + CHECKS * 2 + reports * 2 + decided * 2 + alerts * 2) * 2 * 1000 / 2**40,
            "TiB of messages into BigQuery": decided * 4000 / 2**40,
        },
        "Cloud Build": {"minute of building": CHECKS * of.drift + of.deployments * of.deploying},
        "Scheduler": {"scheduler job": JOBS},
        "Secret Manager": {"secret": of.secrets},
        "Monitoring": {"condition of an alert policy": CONDITIONS},
        # Lines of 1 kB: one of the platform per request, and ours.
        "Logging": {"GiB of logs": (TICKS * 4 + reports * 8 + small * 4) * 1000 / GIB},
        "Artifact Registry": {"GiB of images": FUNCTION_COUNT * 0.3},
    }


def costs(gates: float, of: Assumptions, *, free: bool) -> Mapping[str, float]:
    """Dollars a month, by service.

    Args:
        free: Whether to subtract the free quotas, as if nothing else used them.
    """
    return {
        service: sum(max(0.0, amount - PRICES[what].free * free) * PRICES[what].dollars for what, amount in used.items())
        for service, used in usage(gates, of).items()
    }


def table(gates: Sequence[float], of: Assumptions) -> str:
    """Costs and assumptions, as Markdown."""
    by_list_price = [costs(number, of, free=False) for number in gates]
    beyond_quotas = [costs(number, of, free=True) for number in gates]
    lines = [
        ["US dollars a month, at", *(f"{number:,g} gates a day" for number in gates)],
        ["---", *("---:" for _ in gates)],
        *([service, *(f"{column[service]:,.2f}" for column in by_list_price)] for service in by_list_price[0]),
        ["**All, by list price**", *(f"**{sum(column.values()):,.2f}**" for column in by_list_price)],
        ["**All, beyond the free quotas**", *(f"**{sum(column.values()):,.2f}**" for column in beyond_quotas)],
    ]
    assumed = [f"| {getattr(of, name):,g} | {explanation} |" for name, explanation in EXPLANATIONS.items()]
    return "\n".join(
        [
            *(f"| {' | '.join(line)} |" for line in lines),
            "",
            "| assumed | |",
            "|---:|---|",
            *assumed,
            "",
        ]
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Print the monthly cost of an installation, as Markdown.")
    parser.add_argument("gates", type=float, nargs="*", default=[10, 100, 1000], help="gates a day")
    for field in fields(Assumptions):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=float, default=field.default, help=EXPLANATIONS[field.name]
        )
    options = vars(parser.parse_args())
    gates = options.pop("gates")
    print(table(gates, replace(Assumptions(), **options)), end="")


if __name__ == "__main__":
    main()
