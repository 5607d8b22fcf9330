"""A notice: what people read about an incident, in neutral blocks that each channel renders in its own way.

Texts come from messages and tables, so any of them may be hostile. A block cleans its texts when it is made: no renderer ever
sees a line break, a control character or a live address in one. What is markup in a channel, its renderer escapes itself.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

MAX_LENGTH = 2_000
"""Characters of one text; the rest is cut."""

T = TypeVar("T")


class Tone(StrEnum):
    """How urgent a notice is: its colour and its first word."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"
    RECOVERED = "recovered"


_SCHEME = re.compile(r"http(s?)(?=:/)|\b(?:javascript|mailto)(?=:\S)", re.IGNORECASE)


def clean(text: object, longest: int = MAX_LENGTH) -> str:
    r"""Text on one line, without anything that a terminal, a mail header or a reader could take for an instruction.

    Control characters, marks that change the reading direction and marks without width are removed. Addresses are defanged, as
    in security reports, so that no program makes links of them.

    >>> clean("3 rows\r\nBcc: all@example.com\x00")
    '3 rows Bcc: all@example.com'
    >>> clean("see https://example.com/x")
    'see hxxps://example.com/x'
    """
    # Cut before cleaning: texts may have megabytes, and what comes after twice the length would be cut anyway.
    cut = str(text)[: 2 * longest]
    line = " ".join("".join(c if c.isprintable() else " " for c in cut).split())
    return shorten(_SCHEME.sub(_defanged, line), longest)


def _defanged(scheme: re.Match[str]) -> str:
    return f"hxxp{scheme[1].lower()}" if scheme[1] is not None else f"{scheme[0]}·"


def shorten(text: str, longest: int) -> str:
    """The text; a longer one is cut and ends in "…"."""
    return text if len(text) <= longest else text[: max(longest - 1, 0)].rstrip() + "…"


def short_hash(key: str) -> str:
    """A key as 32 hexadecimal digits, for fields that limit length or characters."""
    return hashlib.sha256(key.encode(errors="backslashreplace")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A sentence or two."""

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", clean(self.text))


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and their values, one pair a line."""

    pairs: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", tuple((clean(name), clean(value)) for name, value in self.pairs))


@dataclass(frozen=True, slots=True)
class Listing:
    """A list under a title, the most important first: where space is short, its end is left out and counted."""

    title: str
    items: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", clean(self.title))
        object.__setattr__(self, "items", tuple(clean(item) for item in self.items))


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands to paste, under a title. A command that is too long for its channel is left out, never cut.

    Names in them must be quoted for a shell already; here only line breaks and the like are removed.
    """

    title: str
    lines: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", clean(self.title))
        object.__setattr__(self, "lines", tuple("".join(c for c in line if c.isprintable()) for line in self.lines))


@dataclass(frozen=True, slots=True)
class Link:
    """A link that phasegate made; text from data never becomes one.

    Raises:
        ValueError: The address is not plain http or https.
    """

    label: str
    address: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", clean(self.label))
        if not re.fullmatch(r"https?://[\w.\-:\[\]]+(/[\w.~!$&*+,;=:@%/?#-]*)?", self.address, re.ASCII):
            raise ValueError("a link's address must begin with https:// and have no space, quote, bracket or backslash")


@dataclass(frozen=True, slots=True)
class Links:
    """Where to read more, or to act."""

    links: tuple[Link, ...]


Block: TypeAlias = Paragraph | Facts | Listing | Commands | Links


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message to one destination.

    Args:
        key: Identifies the notice; one that is sent twice has the same key.
        thread: The same for all notices of one opening of an incident; chats and mail programs group by it.
        subject: One line: what and where.
        lead: One sentence: what is wrong, or that it is over.
        blocks: The rest, in the order in which people need it; empty ones are dropped.
        at: When it was composed.
        data: The same for machines, as a JSON object; sent by webhooks.
        possible_duplicate: True when an earlier attempt may have arrived.
    """

    key: str
    thread: str
    tone: Tone
    subject: str
    lead: str
    blocks: tuple[Block, ...]
    at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)
    possible_duplicate: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", clean(self.subject, 200))
        object.__setattr__(self, "lead", clean(self.lead))
        object.__setattr__(self, "blocks", tuple(block for block in self.blocks if _has_content(block)))


def _has_content(block: Block) -> bool:
    match block:
        case Paragraph(content) | Facts(content) | Links(content) | Listing(_, content) | Commands(_, content):
            return bool(content)


REPEAT = "This may be a repeat: an earlier attempt to send it got no answer."
"""The note on a possible duplicate."""


@dataclass(frozen=True, slots=True)
class SizeBudget:
    """How much of a notice is shown: items of each list, characters of each text, blocks in total."""

    items: int
    characters: int
    blocks: int = 30


SIZE_BUDGETS = (
    SizeBudget(20, 1_000),
    SizeBudget(10, 500),
    SizeBudget(5, 250),
    SizeBudget(3, 120),
    SizeBudget(2, 80, 8),
    SizeBudget(1, 60, 4),
    SizeBudget(0, 60, 2),
)
"""From large to small; within the last any notice has at most 2,000 characters, not counting markup and escaping."""


def trim(notice: Notice, room: SizeBudget) -> Notice:
    """The notice within a size: lists end in "+N more", texts in "…", and commands and links are whole or absent."""
    blocks = tuple(trimmed for block in notice.blocks if (trimmed := _trim_block(block, room)) is not None)
    left_out = len(blocks) - room.blocks
    if left_out > 0:
        blocks = (*blocks[: room.blocks], Paragraph(f"+{left_out} more sections"))
    return replace(notice, lead=shorten(notice.lead, room.characters), blocks=blocks)


def _trim_block(block: Block, room: SizeBudget) -> Block | None:
    match block:
        case Paragraph(text):
            return Paragraph(shorten(text, room.characters))
        case Facts(pairs):
            shown = [(shorten(name, 60), shorten(value, room.characters)) for name, value in pairs[: room.items]]
            more = [("…", f"+{len(pairs) - len(shown)} more")] if len(pairs) > len(shown) else []
            return Facts((*shown, *more))
        case Listing(title, items):
            return Listing(shorten(title, 100), _collapse([shorten(item, room.characters) for item in items], room.items))
        case Commands(title, lines):
            short = [line for line in lines if len(line) <= max(room.characters, 120)][: max(room.items, 1)]
            return Commands(shorten(title, 100), tuple(short)) if short else None
        case Links(links):
            return Links(links[:5])


def _collapse(items: list[str], longest: int) -> tuple[str, ...]:
    # "+1 more" would take the same line as the item itself.
    if len(items) <= longest + 1:
        return tuple(items)
    return (*items[:longest], f"+{len(items) - longest} more")


def fit(notice: Notice, render: Callable[[Notice], T], size: Callable[[T], int], budget: int) -> T:
    """The notice as *render* renders it, in the largest size that fits a channel's budget.

    Args:
        size: Of what was rendered, in the unit of the budget.
    """
    rendered = render(trim(notice, SIZE_BUDGETS[0]))
    for room in SIZE_BUDGETS[1:]:
        if size(rendered) <= budget:
            break
        rendered = render(trim(notice, room))
    return rendered


_SIGNS = {Tone.CRITICAL: "🔴", Tone.WARNING: "🟠", Tone.INFO: "🔵", Tone.RECOVERED: "🟢"}


def headline(notice: Notice) -> str:
    """The first line in a chat: a coloured sign, the same as a word for those who see no colours, and the subject."""
    return f"{_SIGNS[notice.tone]} {notice.tone.upper()}: {notice.subject}"


def plain(notice: Notice) -> str:
    """The notice as plain text without its subject: for a console, the plain part of a mail, and chats that refuse a card."""
    lines = [notice.lead] if notice.lead else []
    for n, block in enumerate(notice.blocks):
        if not isinstance(block, Paragraph) or (n and not isinstance(notice.blocks[n - 1], Paragraph)):
            lines.append("")
        lines += _plain_block(block)
    if notice.possible_duplicate:
        lines += ["", REPEAT]
    return "\n".join(lines).strip() + "\n"


def _plain_block(block: Block) -> Iterator[str]:
    match block:
        case Paragraph(text):
            yield text
        case Facts(pairs):
            yield from (f"{name}: {value}" for name, value in pairs)
        case Listing(title, items):
            yield f"{title}:"
            yield from (f"  - {item}" for item in items)
        case Commands(title, lines):
            yield f"{title}:"
            yield from (f"  {line}" for line in lines)
        case Links(links):
            yield from (f"{link.label}: {link.address}" for link in links)
