"""A text that nobody prints."""

import hmac
import re
from typing import NoReturn, SupportsIndex

_HIDDEN = "<secret>"
_TELLING = 8
"""A part of a secret that is shorter gives nothing away, and stands in many an innocent text."""


class Secret:
    """A password, a key, or an address that lets everybody in who knows it. Only `reveal` gives it.

    >>> print(Secret("https://example.com/hook?key=hunter2hunter2"), [Secret("hunter2")], f"{Secret('hunter2'):>10}")
    <secret> [<secret>]   <secret>
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for whom it is meant."""
        return self._text

    def redact(self, text: str) -> str:
        """A text of somebody else's with the secret, or a part of an address that it is, made unreadable.

        >>> Secret("https://example.com/hook?key=hunter2hunter2").redact("no such key: hunter2hunter2")
        'no such key: <secret>'
        """
        parts = {self._text, *re.split(r"[/?&=:@#]+", self._text)} - {""}
        for part in sorted(parts, key=len, reverse=True):
            if len(part) >= _TELLING or part == self._text:
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
        raise TypeError("a secret is neither pickled nor copied")
