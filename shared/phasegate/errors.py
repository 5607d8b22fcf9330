"""Every error that phasegate raises on purpose.

PhasegateError
├── ConfigError          a file, setting or argument is wrong; nothing was done
├── NotNow               a phase must not start yet; says what blocks it (core.gates.preflight)
├── MessageError         a message is invalid; it is stored as rejected and acknowledged
│   ├── IgnoredSender    nothing is stored; it is only acknowledged
│   └── UnknownPhase
├── ServeError           a part of `serve` ended by itself; the process must be started again
├── ActionRefused        a manual action does not fit the gate; nothing was done
└── AdapterError         an outside system failed; `retryable` says whether a retry may help
    ├── WarehouseError
    ├── StateError
    │   └── Conflict     another process wrote first; load and decide again
    ├── PublishError
    ├── SecretError      the place of the secrets did not answer
    ├── NotifyError
    └── PlatformError
"""

from collections.abc import Sequence
from dataclasses import dataclass


class PhasegateError(Exception):
    """Base of all errors that phasegate raises on purpose."""


def bug_trace(error: BaseException) -> str | None:
    """The end of the traceback of a bug; None for an error that was raised on purpose, whose message says enough."""
    if isinstance(error, PhasegateError):
        return None
    from traceback import format_exception  # a cold start pays for every module

    return "".join(format_exception(error))[-1_900:]


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of an input: where it is, what was expected, what was found."""

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
    """A message that no redelivery will fix; it is stored as rejected and acknowledged."""


class IgnoredSender(MessageError):
    """A message of a sender that the pipeline file ignores: it is acknowledged, and nothing else happens."""


class UnknownPhase(MessageError):
    """A message or command names a phase or producer that the pipeline file does not declare."""


class ServeError(PhasegateError):
    """A part of `serve` ended by itself, so the process ends, too; what supervises it starts it again."""


class ActionRefused(PhasegateError):
    """A manual action does not fit the present state of the gate."""


class AdapterError(PhasegateError):
    """An outside system failed.

    Args:
        retryable: True when the same request may succeed later.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class WarehouseError(AdapterError):
    """The warehouse could not answer."""


class StateError(AdapterError):
    """The state store could not load or commit."""


class Conflict(StateError):
    """A gate or record changed since it was loaded; nothing was written."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class PlatformError(AdapterError):
    """The live platform could not be read."""


class PublishError(AdapterError):
    """The bus did not accept a message."""


class SecretError(AdapterError):
    """The place of the secrets did not answer."""


class NotifyError(AdapterError):
    """A destination did not accept a notice.

    Args:
        retryable: False when the destination will refuse every notice until somebody fixes it: its address is gone, its
            secret is wrong, or it refuses even plain text.
        status: The HTTP or SMTP status of the answer; None without one.
        retry_after: Seconds that the destination asks to wait before the next attempt, with any notice.
        maybe_sent: True when it may have accepted the notice: the connection ended before the answer arrived.
        lacks_secret: True when nothing was sent because this process has not the secret; another one may have it.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool,
        status: int | None = None,
        retry_after: float | None = None,
        maybe_sent: bool = False,
        lacks_secret: bool = False,
    ) -> None:
        super().__init__(message, retryable=retryable)
        self.lacks_secret = lacks_secret
        self.status = status
        self.retry_after = retry_after
        self.maybe_sent = maybe_sent
