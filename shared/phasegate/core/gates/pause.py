"""A pause: a person's decision to stop all releases of a pipeline, or of one of its phases, until a given time."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from phasegate.core.gates.gate import end_text
from phasegate.errors import ActionRefused


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause of a pipeline or a phase. It always has an end; reports are recorded meanwhile, and lateness raises no alert.

    Args:
        subject: `flights`, or `flights/raw`.
        ended_by: Who ended it before its time; empty when nobody did.
        ended_at: When that was.
        ended_why: Why.
    """

    subject: str
    by: str
    why: str
    at: datetime
    until: datetime
    ended_by: str = ""
    ended_at: datetime | None = None
    ended_why: str = ""

    def is_live(self, now: datetime) -> bool:
        """True while it is in force; its end is not included."""
        return self.at <= now < (self.ended_at or self.until)

    def __str__(self) -> str:
        return f"{self.subject} is paused by {self.by} until {end_text(self.until)}: {self.why}"

    @property
    def undo(self) -> str:
        """The command that ends it."""
        pipeline, _, phase = self.subject.partition("/")
        return f"phasegate resume{' ' if phase else ''}{phase} --pipeline {pipeline}"


PauseHistory = tuple[Pause, ...]
"""The stored pauses of one subject, newest last."""

HISTORY_LENGTH = 50
"""Pauses of a subject that are stored, for its history."""


def subject(pipeline: str, phase: str | None = None) -> str:
    """The subject of a pause: a whole pipeline, or a phase."""
    return f"{pipeline}/{phase}" if phase else pipeline


def live(pauses: Iterable[Pause], now: datetime) -> Pause | None:
    """The pause that is in force now; of several, the one that ends last."""
    return max((pause for pause in pauses if pause.is_live(now)), key=lambda pause: pause.until, default=None)


def begin(history: PauseHistory, new: Pause) -> PauseHistory:
    """A subject's pauses with a new one, which replaces the one in force.

    Raises:
        ActionRefused: It would end before it begins, has no reason, or does not say who wants it.
    """
    if new.until <= new.at:
        raise ActionRefused(f"{new.subject}: {end_text(new.until)} is in the past; choose a later end")
    if not new.why.strip() or not new.by.strip():
        raise ActionRefused(f"{new.subject}: a pause needs a reason and a name")
    return (*_ended(history, new.at, new.by, "replaced"), new)[-HISTORY_LENGTH:]


def end(name: str, history: PauseHistory, now: datetime, by: str, why: str) -> PauseHistory:
    """A subject's pauses with the one in force ended now.

    Raises:
        ActionRefused: None is in force.
    """
    if live(history, now) is None:
        raise ActionRefused(f"{name} is not paused")
    return _ended(history, now, by, why)


def _ended(history: PauseHistory, now: datetime, by: str, why: str) -> PauseHistory:
    return tuple(replace(pause, ended_by=by, ended_at=now, ended_why=why) if pause.is_live(now) else pause for pause in history)
