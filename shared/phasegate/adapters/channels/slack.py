"""Slack: blocks of rich text. Their elements show text as it is and read no markup, so text from data can't become markup.

Source: docs.slack.dev, "Block Kit" (rich text, header, context, actions). Budget: 8,000 characters,
40 blocks.
"""

import json
from collections.abc import Iterator

from phasegate.adapters.channels.chat import Channel, Payload
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
    shorten,
)

BUDGET = 8_000
"""Characters of a message, its JSON included. Slack has refused 11,000 of text."""

MAX_HEADER = 150
"""Characters of a header block."""


def card(notice: Notice) -> Payload:
    """The notice as blocks, and as one line for notifications."""
    blocks = [
        {"type": "header", "text": _plain(shorten(headline(notice), MAX_HEADER))},
        *([_rich(_section(_text(notice.lead)))] if notice.lead else []),
        *(rendered for block in notice.blocks for rendered in _block(block)),
    ]
    if notice.possible_duplicate:
        blocks.append(_rich(_section(_text(REPEAT, italic=True))))
    return {"text": _escaped(headline(notice)), "mrkdwn": False, "blocks": blocks}


def text(notice: Notice) -> Payload:
    """The notice as plain text."""
    return {"text": _escaped(f"{headline(notice)}\n{plain(notice)}"), "mrkdwn": False}


def _escaped(text: str) -> str:
    # In `text`, only these three characters start a mention, a link or an entity.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _block(block: Block) -> Iterator[Payload]:
    match block:
        case Paragraph(text):
            yield _rich(_section(_text(text)))
        case Facts(pairs):
            yield _rich(*(_section(_text(f"{name}: ", bold=True), _text(value)) for name, value in pairs))
        case Listing(title, items):
            bullets = {"type": "rich_text_list", "style": "bullet", "elements": [_section(_text(item)) for item in items]}
            yield _rich(_section(_text(title, bold=True)), *([bullets] if items else []))
        case Commands(title, lines):
            yield _rich(
                _section(_text(title, bold=True)), {"type": "rich_text_preformatted", "elements": [_text("\n".join(lines))]}
            )
        case Links(links):
            yield {
                "type": "actions",
                "elements": [
                    {"type": "button", "text": _plain(shorten(link.label, 75) or "Open"), "url": link.address} for link in links
                ],
            }


def _rich(*elements: Payload) -> Payload:
    return {"type": "rich_text", "elements": list(elements)}


def _section(*elements: Payload) -> Payload:
    return {"type": "rich_text_section", "elements": list(elements)}


def _text(text: str, **style: bool) -> Payload:
    # An element without text makes Slack refuse the whole message.
    return {"type": "text", "text": text or "–", **({"style": style} if style else {})}


def _plain(text: str) -> Payload:
    # Slack decodes entities even in plain text, and does not document that it leaves a bare < alone: use look-alikes.
    return {"type": "plain_text", "text": text.replace("<", "‹").replace(">", "›").replace("&", "＆"), "emoji": False}


def _size(payload: Payload) -> int:
    return len(json.dumps(payload, ensure_ascii=False))


SLACK = Channel(card=card, text=text, size=_size, budget=BUDGET)
