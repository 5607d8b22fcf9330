"""A text that never appears in logs, errors or output."""

import hmac
import re
from typing import NoReturn, SupportsIndex

_HIDDEN = "<secret>"
_MIN_LENGTH = 8
"""Shorter parts of a secret reveal nothing, and occur in harmless texts."""


class Secret:
    """A password, a key, or an address that works for anybody who knows it. Only `reveal` returns it.

    >>> print(Secret("https://example.com/hook?key=hunter2hunter2"), [Secret("hunter2")], f"{Secret('hunter2'):>10}")
    <secret> [<secret>]   <secret>
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, to be handed to the server that it is meant for."""
        return self._text

    def redact(self, text: str) -> str:
        """A text from outside with the secret, or the parts of an address, replaced by `<secret>`.

        >>> Secret("https://example.com/hook?key=hunter2hunter2").redact("no such key: hunter2hunter2")
        'no such key: <secret>'
        """
        parts = {self._text, *re.split(r"[/?&=:@#]+", self._text)} - {""}
        for part in sorted(parts, key=len, reverse=True):  # longest first: a short part may be inside a longer one
            if len(part) >= _MIN_LENGTH or part == self._text:
                text = text.replace(part, _HIDDEN)
        return text

    def __repr__(self) -> str:
        return _HIDDEN

    def __str__(self) -> str:
        return _HIDDEN

    def __format__(self, spec: str) -> str:
        return format(_HIDDEN, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a secret can be neither pickled nor copied")
