"""The live platform under an installation: what it can be asked, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription as it is.

    Args:
        topic: In full, as projects/PROJECT/topics/NAME.
        endpoint: Where it pushes to; empty when it does not push.
        audience: Of the token that it brings; empty when it brings none.
        table: The table that it writes into, as PROJECT.DATASET.TABLE.
        dead_topic: In full; empty when nothing is given up.
        filtered: The filter on attributes; what it leaves out is never delivered.
    """

    topic: str
    ack_seconds: int
    never_expires: bool
    kept_seconds: float
    endpoint: str = ""
    audience: str = ""
    account: str = ""
    table: str = ""
    least_wait: float | None = None
    longest_wait: float | None = None
    dead_topic: str = ""
    attempts: int = 0
    ordered: bool = False
    filtered: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function as it is.

    Args:
        region: Where it is.
        state: As the platform calls it; ACTIVE when it works.
        digest: Of its source, as far as its label holds it.
        environment: The variables that it sees.
        uri: Where it is called.
        retries: Whether a trigger of its own retries; None when it has no such trigger, and is pushed to.
        revision: The one that was deployed.
        serving: The one that answers; empty when that is not known.
    """

    region: str
    state: str
    digest: str
    environment: Mapping[str, str]
    account: str
    timeout_seconds: int
    ingress: str
    uri: str
    retries: bool | None = None
    revision: str = ""
    serving: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job of the scheduler as it is.

    Args:
        failed: Why its last attempt failed; empty when it did not.
    """

    region: str
    enabled: bool
    schedule: str
    zone: str
    topic: str
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is.

    Args:
        types: GoogleSQL types by column in lower case.
        partition: The column that it is partitioned by; empty when it is not, None where no table is.
    """

    types: Mapping[str, str]
    partition: str | None = None


class ResourceKind(StrEnum):
    """What may be granted on."""

    SUBSCRIPTION = "subscriptions"
    TOPIC = "topics"
    SERVICE = "services"
    SECRET = "secrets"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that rights are granted on; a service has a region."""

    kind: ResourceKind
    name: str
    region: str = ""


Grants: TypeAlias = Mapping[str, frozenset[str]]
"""Members by role."""


class Tables(Protocol):
    """What the warehouse's tables are like; no rows are read."""

    def describe_table(self, name: str) -> "Table | None":
        """A table, by `dataset.table` or `project.dataset.table`; None when there is none.

        Raises:
            WarehouseError: It could not be looked at.
        """

    def tables_in(self, dataset: str) -> Sequence[str]:
        """Every table and view of a dataset, by the names that `describe_table` takes; none, when there is no such dataset.

        Raises:
            WarehouseError: It could not be looked at.
        """


class Platform(Protocol):
    """The live platform under an installation. Read only; every verb raises a PlatformError when it can't look."""

    def subscriptions(self) -> "Mapping[str, Subscription]":
        """The installation's subscriptions, by name."""

    def functions(self) -> "Mapping[str, Function]":
        """The installation's functions, by name."""

    def jobs(self, region: str) -> "Mapping[str, Job]":
        """The installation's scheduler jobs, by name."""

    def has_secret(self, name: str) -> bool:
        """Whether a secret has a version that can be read; False, too, when there is no such secret."""

    def grants(self, resource: "Resource") -> "Grants":
        """Who has which role on a resource itself; none, when there is no such resource."""

    def now(self) -> datetime:
        """What time the platform says it is, to the second."""
