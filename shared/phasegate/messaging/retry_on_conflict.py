"""What is done when somebody else has written first: the same again, from the start, and not all at once."""

import random
from collections.abc import Callable, Iterator
from time import sleep
from typing import TypeVar

from phasegate.errors import Conflict

CONFLICTS = 20
"""How often something is done anew because somebody else wrote first."""

LONGEST_PAUSE = 1.0
"""Seconds, before it is done anew."""

T = TypeVar("T")


def attempts() -> Iterator[int]:
    """Counts the attempts from 0, with a pause before each one after the second.

    Of many that collide one wins each time; the others must not come back all at once.
    """
    for attempt in range(CONFLICTS):
        if attempt > 1:
            sleep(random.uniform(0, min(0.01 * 2**attempt, LONGEST_PAUSE)))  # noqa: S311
        yield attempt


def until_written(take: Callable[[], T], otherwise: str) -> T:
    """Do it, and anew from the start while somebody else writes first.

    Args:
        otherwise: What the error says.

    Raises:
        Conflict: Others wrote first every time.
    """
    for _ in attempts():
        try:
            return take()
        except Conflict:
            continue
    raise Conflict(otherwise)
