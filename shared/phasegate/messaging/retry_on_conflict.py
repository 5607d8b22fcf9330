"""Retries a change when another process wrote first."""

import random
from collections.abc import Callable, Iterator
from time import sleep
from typing import TypeVar

from phasegate.errors import Conflict

MAX_ATTEMPTS = 20
"""How often a change is tried while others keep writing first."""

MAX_PAUSE = 1.0
"""The longest pause before another attempt, in seconds."""

T = TypeVar("T")


def attempts() -> Iterator[int]:
    """Counts the attempts from 0, with a random pause before each one after the second."""
    for attempt in range(MAX_ATTEMPTS):
        # Of several that collide one wins each time. Without jitter the others would collide again, all together.
        if attempt > 1:
            sleep(random.uniform(0, min(0.01 * 2**attempt, MAX_PAUSE)))  # noqa: S311
        yield attempt


def until_written(change: Callable[[], T], message: str) -> T:
    """What *change* gives, once it is written.

    Args:
        change: Reads, decides and writes; called again from the start after each conflict.
        message: Of the error when every attempt fails.

    Raises:
        Conflict: Others wrote first every time.
    """
    for _ in attempts():
        try:
            return change()
        except Conflict:
            continue
    raise Conflict(message)
