"""Every error phasegate raises on purpose.

PhasegateError
├── ConfigError          a file, setting or argument is wrong; nothing was done
├── NotNow               a phase must not start yet; says what stands in the way (core.gates.preflight)
├── MessageError         a message makes no sense; it is recorded as rejected and acknowledged
│   └── UnknownPhase
├── Refused              an act by hand makes no sense on that gate; nothing was done
└── AdapterError         an outside system failed; `retryable` says whether again may help
    ├── WarehouseError
    ├── StateError
    │   └── Conflict     someone else wrote first; load again and decide again
    ├── PublishError
    ├── SecretError      whether there is a secret could not be found out
    ├── NotifyError
    └── PlatformError
"""

from collections.abc import Sequence
from dataclasses import dataclass


class PhasegateError(Exception):
    """Base of all errors that phasegate raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input: where it stands, what was expected, what was got."""

    path: str
    expected: str
    got: str = ""
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        got = f", got {self.got}" if self.got else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.expected}{got}{hint}"


class ConfigError(PhasegateError):
    """A pipeline file, a setting or an argument is wrong; carries every problem found, not the first one only."""

    def __init__(self, message: str = "", problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message or "\n".join(str(problem) for problem in self.problems))


class MessageError(PhasegateError):
    """A message that will not get better by coming again; recorded as rejected and acknowledged."""


class UnknownPhase(MessageError):
    """A message or command names a phase or producer that the pipeline file does not declare."""


class ActionRefused(PhasegateError):
    """An act by hand makes no sense on that gate, as it stands now."""


class AdapterError(PhasegateError):
    """An outside system failed.

    Args:
        retryable: True when the same request may succeed later. Raised out of a function, it makes the message come again.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class WarehouseError(AdapterError):
    """The warehouse could not answer."""


class StateError(AdapterError):
    """The state store could not load or commit."""


class Conflict(StateError):
    """The gate changed since it was loaded; nothing was written."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class PlatformError(AdapterError):
    """The live platform could not be looked at."""


class PublishError(AdapterError):
    """A message could not be handed to the bus."""


class SecretError(AdapterError):
    """The place where secrets are kept did not answer."""


class NotifyError(AdapterError):
    """A notice was not taken by its destination.

    Args:
        retryable: False when the destination will refuse every notice until somebody mends it: its address is gone, its
            secret is wrong, it takes not even plain text.
        status: The HTTP or SMTP status that came back; None when none came.
        retry_after: Seconds that the destination asks to wait before the next attempt, to whatever it is sent.
        maybe_sent: True when it may have been taken after all: the connection ended before the answer came.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool,
        status: int | None = None,
        retry_after: float | None = None,
        maybe_sent: bool = False,
    ) -> None:
        super().__init__(message, retryable=retryable)
        self.status = status
        self.retry_after = retry_after
        self.maybe_sent = maybe_sent
