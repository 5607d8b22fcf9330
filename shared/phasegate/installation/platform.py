"""The live platform of an installation: what can be read of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias

from phasegate.ports import Warehouse


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription, as it exists.

    Args:
        topic: In full, as projects/PROJECT/topics/NAME.
        endpoint: The URL it pushes to; empty when it does not push.
        audience: Of its token; empty when it sends none.
        account: The service account of its token.
        table: The table it writes to, as PROJECT.DATASET.TABLE.
        dead_letter_topic: In full; empty when there is none.
        filter: The filter on attributes; messages that don't match are never delivered.
    """

    topic: str
    ack_seconds: int
    never_expires: bool
    retention_seconds: float
    endpoint: str = ""
    audience: str = ""
    account: str = ""
    table: str = ""
    min_backoff: float | None = None
    max_backoff: float | None = None
    dead_letter_topic: str = ""
    attempts: int = 0
    ordered: bool = False
    filter: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function, as it exists.

    Args:
        state: In the platform's words; ACTIVE when it works.
        digest: The start of its source's digest, from its label.
        environment: Its environment variables.
        retries: Whether its own trigger retries; None for a function that a subscription pushes to.
        revision: The revision that was deployed.
        serving: The revision that serves requests; empty when that is not known.
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
    """A scheduler job, as it exists.

    Args:
        failed: Why its last attempt failed; empty when it succeeded.
    """

    region: str
    enabled: bool
    schedule: str
    zone: str
    topic: str
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, as it exists.

    Args:
        types: GoogleSQL types, by column name in lower case.
        partition: The column it is partitioned by; empty for none, None where the warehouse has no partitions.
    """

    types: Mapping[str, str]
    partition: str | None = None


class ResourceKind(StrEnum):
    """Kinds of resources with grants of their own."""

    SUBSCRIPTION = "subscriptions"
    TOPIC = "topics"
    SERVICE = "services"
    SECRET = "secrets"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource with grants of its own; a service also has a region."""

    kind: ResourceKind
    name: str
    region: str = ""


Grants: TypeAlias = Mapping[str, frozenset[str]]
"""Members by role."""


class Tables(Protocol):
    """The tables of a warehouse, without their rows."""

    def describe_table(self, name: str) -> "Table | None":
        """A table, by `dataset.table` or `project.dataset.table`; None when it does not exist.

        Raises:
            WarehouseError: It could not be read.
        """

    def tables_in(self, dataset: str) -> Sequence[str]:
        """The tables and views of a dataset, by the names that `describe_table` takes; none when the dataset does not exist.

        Raises:
            WarehouseError: It could not be read.
        """


class DescribedWarehouse(Warehouse, Tables, Protocol):
    """A warehouse that measures tables for the gates and describes them for the doctor."""


class Platform(Protocol):
    """The live platform of an installation. Read only; every method raises a PlatformError when it can't read."""

    def subscriptions(self) -> "Mapping[str, Subscription]":
        """The installation's subscriptions, by name."""

    def functions(self) -> "Mapping[str, Function]":
        """The installation's functions, by name."""

    def jobs(self, region: str) -> "Mapping[str, Job]":
        """The installation's scheduler jobs, by name."""

    def has_secret(self, name: str) -> bool:
        """True when a secret exists and has an enabled version."""

    def grants(self, resource: "Resource") -> "Grants":
        """The grants on a resource itself, not on its project; none when the resource does not exist."""

    def now(self) -> datetime:
        """The platform's time, to the second."""
