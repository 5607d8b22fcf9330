"""Output in a locale that lacks some characters: each is replaced, so that no command stops halfway."""

import codecs
from io import TextIOWrapper
from typing import TextIO

_ALTERNATIVES = str.maketrans(
    {"●": "o", "◐": "~", "✗": "x", "◇": "a", "↻": "r", "…": ".", "–": "-", "−": "-", "≥": ">=", "≤": "<=", "÷": "/"}
)
"""The signs that we print, and what replaces each."""


def tolerate(stream: TextIO | None) -> None:
    """Make a stream replace the characters that its encoding lacks, by other signs or by JSON escapes."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors=_NAME)


def _alternative(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(_ALTERNATIVES)
    return "".join(c if c.isascii() else _escaped(c) for c in text), error.end


def _escaped(character: str) -> str:
    # In two halves above U+FFFF: so the escapes of JSON output are JSON, too.
    units = character.encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


_NAME = "phasegate"
codecs.register_error(_NAME, _alternative)
