"""Findings of the doctor."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """The result of one check of the installation."""

    OK = "ok"
    WRONG = "wrong"
    NOT_CHECKED = "could not look"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing of the installation that was checked.

    Args:
        subject: What was checked: `subscription phasegate-ticks`.
        message: What was found, and what was expected.
        fix: A command or sentence that fixes it, or that a person may want to follow although it is ok; empty without one.
    """

    subject: str
    health: Health
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class NotChecked:
    """Why something could not be read."""

    reason: str
