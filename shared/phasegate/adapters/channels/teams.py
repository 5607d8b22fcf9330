"""Microsoft Teams: an Adaptive Card for the workflow "Post to a channel when a webhook request is received".

Its texts are runs of rich text, which read no Markdown, so text from data can't become markup. A workflow accepts cards only,
so "plain text" is a card of nothing but lines. It also answers before it posts: a card that Teams refuses goes unnoticed.

Source: adaptivecards.io, schema 1.4 (RichTextBlock, TextRun, Action.OpenUrl); learn.microsoft.com, "Create incoming webhooks
with Workflows"; budget: 20 KB, below the 28 KB that Teams accepts.
"""

from collections.abc import Iterator

from phasegate.adapters.channels.chat import Channel, Payload, encoded
from phasegate.core.alerts.notice import (
    REPEAT,
    Block,
    Commands,
    Facts,
    Links,
    Listing,
    Notice,
    Paragraph,
    Tone,
    headline,
    plain,
)

BUDGET = 20_000
"""Bytes of a message; Teams accepts 28 KB."""

_COLOURS = {Tone.CRITICAL: "attention", Tone.WARNING: "warning", Tone.INFO: "accent", Tone.RECOVERED: "good"}


def card(notice: Notice) -> Payload:
    """The notice as a card."""
    return _message(
        notice,
        _line(headline(notice), weight="bolder", size="large", color=_COLOURS[notice.tone]),
        *([_line(notice.lead)] if notice.lead else []),
        *(element for block in notice.blocks for element in _elements(block)),
        *([_line(REPEAT, italic=True)] if notice.possible_duplicate else []),
    )


def text(notice: Notice) -> Payload:
    """The notice as a card of nothing but lines."""
    return _message(notice, *(_line(line) for line in (headline(notice), *plain(notice).splitlines()) if line))


def _message(notice: Notice, *body: Payload) -> Payload:
    shown = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": headline(notice),
        "msteams": {"width": "Full"},
        "body": list(body),
    }
    return {
        "type": "message",
        "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": shown}],
    }


def _elements(block: Block) -> Iterator[Payload]:
    match block:
        case Paragraph(text):
            yield _line(text, spaced=True)
        case Facts(pairs):
            for n, (name, value) in enumerate(pairs):
                yield _runs(_run(f"{name}: ", weight="bolder"), _run(value), spaced=not n)
        case Listing(title, items):
            yield _line(title, spaced=True, weight="bolder")
            yield from (_line(f"• {item}") for item in items)
        case Commands(title, lines):
            yield _line(title, spaced=True, weight="bolder")
            yield from (_line(line, fontType="monospace") for line in lines)
        case Links(links):
            yield {
                "type": "ActionSet",
                "actions": [{"type": "Action.OpenUrl", "title": link.label or "Open", "url": link.address} for link in links],
            }


def _line(text: str, *, spaced: bool = False, **style: object) -> Payload:
    return _runs(_run(text, **style), spaced=spaced)


def _runs(*runs: Payload, spaced: bool) -> Payload:
    return {"type": "RichTextBlock", "spacing": "medium" if spaced else "small", "inlines": list(runs)}


def _run(text: str, **style: object) -> Payload:
    return {"type": "TextRun", "text": text or "–", **style}


def _size(payload: Payload) -> int:
    return len(encoded(payload))


TEAMS = Channel(card=card, text=text, size=_size, budget=BUDGET)
