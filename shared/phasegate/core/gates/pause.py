"""A pause: a person's decision that a pipeline, or one of its phases, releases nothing for a while."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from phasegate.errors import ActionRefused


@dataclass(frozen=True, slots=True)
class Pause:
    """A stop of a pipeline or a phase that always has an end. Evidence is recorded meanwhile, and nobody is told of lateness.

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
        """True while it holds; its end is not included."""
        return self.at <= now < (self.ended_at or self.until)

    def __str__(self) -> str:
        return f"{self.subject} is paused by {self.by} until {self.until:%Y-%m-%d %H:%M} UTC: {self.why}"

    @property
    def undo(self) -> str:
        """The command that ends it."""
        pipeline, _, phase = self.subject.partition("/")
        return f"phasegate resume{' ' if phase else ''}{phase} --pipeline {pipeline}"


PauseHistory = tuple[Pause, ...]
"""Every pause of one subject that is remembered, the newest last."""

REMEMBERED = 50
"""Pauses of a subject that are kept, for the history."""


def subject(pipeline: str, phase: str | None = None) -> str:
    """What a pause is about: a pipeline as a whole, or a phase."""
    return f"{pipeline}/{phase}" if phase else pipeline


def live(pauses: Iterable[Pause], now: datetime) -> Pause | None:
    """The pause that holds now; of several the one that ends last."""
    return max((pause for pause in pauses if pause.is_live(now)), key=lambda pause: pause.until, default=None)


def begin(known: PauseHistory, new: Pause) -> PauseHistory:
    """A subject's pauses with a new one, which takes the place of one that holds.

    Raises:
        Refused: It would end before it begins, or has no reason, or nobody wants it.
    """
    if new.until <= new.at:
        raise ActionRefused(f"{new.subject}: {new.until:%Y-%m-%d %H:%M} UTC is past; it would end before it began")
    if not new.why.strip() or not new.by.strip():
        raise ActionRefused(f"{new.subject}: a pause needs a reason, and who wants it")
    return (*_ended(known, new.at, new.by, "replaced"), new)[-REMEMBERED:]


def end(name: str, known: PauseHistory, now: datetime, by: str, why: str) -> PauseHistory:
    """A subject's pauses with the one that holds ended now.

    Raises:
        Refused: None holds.
    """
    if live(known, now) is None:
        raise ActionRefused(f"{name} is not paused")
    return _ended(known, now, by, why)


def _ended(known: PauseHistory, now: datetime, by: str, why: str) -> PauseHistory:
    return tuple(replace(pause, ended_by=by, ended_at=now, ended_why=why) if pause.is_live(now) else pause for pause in known)
