"""Slack: blocks of rich text, whose elements show what they hold and read no markup, so that no text of data can be any.

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

LONGEST_HEADER = 150


def card(notice: Notice) -> Payload:
    """The notice as blocks, and as one line for notifications."""
    blocks = [
        {"type": "header", "text": _plain(shorten(headline(notice), LONGEST_HEADER))},
        *([_rich(_section(_text(notice.lead)))] if notice.lead else []),
        *(drawn for block in notice.blocks for drawn in _block(block)),
    ]
    if notice.possible_duplicate:
        blocks.append(_rich(_section(_text(REPEAT, italic=True))))
    return {"text": _escaped(headline(notice)), "mrkdwn": False, "blocks": blocks}


def text(notice: Notice) -> Payload:
    """The notice as plain text."""
    return {"text": _escaped(f"{headline(notice)}\n{plain(notice)}"), "mrkdwn": False}


def _escaped(said: str) -> str:
    # In `text`, these three alone begin what is not text: a mention, a link, an entity.
    return said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _block(block: Block) -> Iterator[Payload]:
    match block:
        case Paragraph(said):
            yield _rich(_section(_text(said)))
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


def _text(said: str, **style: bool) -> Payload:
    # An element without text makes Slack refuse the whole message.
    return {"type": "text", "text": said or "–", **({"style": style} if style else {})}


def _plain(said: str) -> Payload:
    # Slack turns entities in plain text back into what they stand for, and is not known to leave bare signs alone.
    return {"type": "plain_text", "text": said.replace("<", "‹").replace(">", "›").replace("&", "＆"), "emoji": False}


def _size(payload: Payload) -> int:
    return len(json.dumps(payload, ensure_ascii=False))


SLACK = Channel(card=card, text=text, size=_size, budget=BUDGET)
