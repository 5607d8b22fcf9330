"""Google Chat: a card in a thread of its own for each incident.

Source: developers.google.com/workspace/chat, "Cards v2", "Format messages", "Build a Google Chat app as a webhook". Budget:
4,000 characters of text.
"""

from collections.abc import Iterator
from html import escape

from phasegate.adapters.channels.chat import Channel, Payload, encoded
from phasegate.adapters.channels.http import Answer
from phasegate.core.alerts.notice import (
    REPEAT,
    Block,
    Commands,
    Facts,
    Links,
    Listing,
    Notice,
    Paragraph,
    headline,
    plain,
    short_hash,
)

BUDGET = 4_000
"""Characters of text."""

MAX_BYTES = 28_000
"""Bytes of a message, below the 32,000 that Google Chat accepts."""


def card(notice: Notice) -> Payload:
    """The notice as a card; its texts are escaped, because some of them may contain HTML."""
    widgets = [
        *([_paragraph(escape(notice.lead))] if notice.lead else []),
        *(widget for block in notice.blocks for widget in _widgets(block)),
        *([_paragraph(f"<i>{escape(REPEAT)}</i>")] if notice.possible_duplicate else []),
    ]
    shown = {
        "header": {"title": headline(notice)},  # no subtitle, so that the title may use two lines
        **({"sections": [{"widgets": widgets}]} if widgets else {}),
    }
    return {
        "fallbackText": _inert(headline(notice)),
        "cardsV2": [{"cardId": short_hash(notice.key), "card": shown}],
        "thread": {"threadKey": short_hash(notice.thread)},
    }


def text(notice: Notice) -> Payload:
    """The notice as plain text."""
    return {"text": _inert(f"{headline(notice)}\n{plain(notice)}"), "thread": {"threadKey": short_hash(notice.thread)}}


_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "*": "∗", "_": "＿", "~": "∼", "`": "ʼ"})


def _inert(text: str) -> str:
    # In plain text `<users/all>` pings everybody and `<address|words>` hides an address, and neither can be escaped.
    return text.translate(_LOOKALIKES)


def _widgets(block: Block) -> Iterator[Payload]:
    match block:
        case Paragraph(text):
            yield _paragraph(escape(text))
        case Facts(pairs):
            for name, value in pairs:
                yield {"decoratedText": {"topLabel": name or "–", "text": escape(value) or "–", "wrapText": True}}
        case Listing(title, items):
            yield _paragraph("<br>".join((f"<b>{escape(title)}</b>", *(f"• {escape(item)}" for item in items))))
        case Commands(title, lines):
            # Cards have no monospaced text; one line each, to be copied.
            yield _paragraph("<br>".join((f"<b>{escape(title)}</b>", *(escape(line) for line in lines))))
        case Links(links):
            yield {
                "buttonList": {
                    "buttons": [
                        {"text": link.label or "Open", "onClick": {"openLink": {"url": link.address}}} for link in links
                    ]
                }
            }


def _paragraph(html: str) -> Payload:
    return {"textParagraph": {"text": html}}


def _size(payload: object) -> int:
    """Characters of text, or, if that is more of its limit, bytes scaled to the same budget."""
    return max(_characters(payload), len(encoded({"": payload})) * BUDGET // MAX_BYTES)


def _characters(payload: object) -> int:
    match payload:
        case str(text):
            return len(text)
        case dict():
            return sum(_characters(value) for value in payload.values())
        case list():
            return sum(_characters(value) for value in payload)
    return 0


def _message_id(answer: Answer) -> str:
    return str(answer.object.get("name", ""))


GOOGLE_CHAT = Channel(
    card=card,
    text=text,
    size=_size,
    budget=BUDGET,
    query="messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD",
    message_id=_message_id,
)
