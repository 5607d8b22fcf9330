"""Where commands print, and the sign in front of a line."""

from rich.console import Console
from rich.text import Text

Sign = tuple[str, str]
"""A character and its style. They mean the same, because not everybody can see colours and not every terminal shows them."""

_PIPE_WIDTH = 140
"""Columns of a line in a file or a pipe: enough for a sentence, and the same on every machine."""


class _Console(Console):
    """A console that prints text as it is, and leaves a closed pipe to `main`."""

    def __init__(self, width: int | None = None) -> None:
        # ":smile:" in a name or a value is no emoji.
        super().__init__(highlight=False, emoji=False, width=width)

    def on_broken_pipe(self) -> None:
        """See `Console`, which would exit with 1."""
        raise BrokenPipeError


def console() -> Console:
    """Standard output."""
    screen = _Console()
    return screen if screen.is_terminal else _Console(width=_PIPE_WIDTH)


def sign(shown: Sign) -> Text:
    """A sign in its style."""
    character, style = shown
    return Text(character, style=style)
