"""Where commands print, and the sign in front of a line."""

from rich.console import Console
from rich.text import Text

Sign = tuple[str, str]
"""A character and its style. They mean the same, because not everybody can see colours and not every terminal shows them."""

_PIPE_WIDTH = 140
"""Columns of a line in a file or a pipe: enough for a sentence, and the same on every machine."""


def console() -> Console:
    """Standard output."""
    screen = Console(highlight=False)
    return screen if screen.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def sign(shown: Sign) -> Text:
    """A sign in its style."""
    character, style = shown
    return Text(character, style=style)
