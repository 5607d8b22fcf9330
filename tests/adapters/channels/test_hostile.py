"""Hostile text in every field of a notice: each channel shows it and obeys none of it.

The payloads are in golden files; `PHASEGATE_GOLDEN=write` writes them again.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes, policy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from phasegate.adapters.channels import google_chat, mail, slack, teams, webhook
from phasegate.adapters.channels.chat import encoded
from phasegate.core.alerts.notice import Commands, Facts, Link, Links, Listing, Notice, Paragraph, fit, headline, plain

from tests.adapters.channels.conftest import notice, schema

GOLDEN = Path(__file__).parent / "golden"

ATTACKS = {
    "slack": "<!channel> <!here> <@U123> <#C123> @channel @here",
    "google": "<users/all> <users/123>",
    "teams": "<at>all</at> @all @everyone",
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "header": "rows\r\nBcc: all@example.com\r\n\r\nbody",
    "links": "[pay](https://evil.example/a) <https://evil.example|safe> javascript:alert(1) mailto:x@evil.example",
    "marks": "*b* _i_ ~s~ `c` ```pre``` # h | t | ![](http://evil.example/x.png)",
    "direction": "abc\u202egnp.exe\u2066\u200f\u200b\ufeff",
    "emoji": "\U0001f525\U0001f469\u200d\U0001f469\u200d\U0001f467 :fire:",
    "entities": "&lt;!channel&gt; &amp; &#60; %3Cscript%3E",
    "controls": "a\x00b\x1b[31mc\x7f\x85\u2028d\ud800e",
    "quotes": "\"'\\ ${jndi:ldap://x} {{7*7}}",
    "sheet": '=HYPERLINK("http://evil.example")',
}
LONG = "long " + "A" * 100_000
ALL = " ".join(ATTACKS.values())


def hostile(text: str) -> Notice:
    """A notice with a text in every field that takes one."""
    return notice(
        key=text,
        thread=text,
        subject=text,
        lead=text,
        blocks=(
            Facts(((text, text), ("Effect", text))),
            Listing(text, (text, text)),
            Commands(text, (text, "phasegate explain raw 2026-03-02")),
            Links((Link(text, "https://gates.example.com/ack?token=a.b&x=1"),)),
            Paragraph(text),
        ),
        data={"incident": text, "members": [{"name": text}] * 3, text[:50]: [text]},
    )


def rendered(channel: Any, of: Notice, form: str) -> Any:
    return fit(of, getattr(channel, form), channel.size, channel.budget)


CHANNELS = {"slack": slack.SLACK, "google_chat": google_chat.GOOGLE_CHAT, "teams": teams.TEAMS}
every_form = pytest.mark.parametrize(("kind", "form"), [(kind, form) for kind in CHANNELS for form in ("card", "text")])


def strings(value: Any, *path: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Every text of a payload, with its path."""
    match value:
        case str():
            yield path, value
        case dict():
            for key, each in value.items():
                yield from strings(each, *path, key)
        case list() | tuple():
            for n, each in enumerate(value):
                yield from strings(each, *path, n)


def check(kind: str, payload: Any) -> None:
    Draft202012Validator(schema(kind), format_checker=FormatChecker()).validate(json.loads(encoded(payload)))


def golden(name: str, content: str) -> None:
    path = GOLDEN / name
    if os.environ.get("PHASEGATE_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, "utf-8")
    assert path.exists(), f"write {name} with PHASEGATE_GOLDEN=write, and read it"
    assert content == path.read_text("utf-8")


def pretty(payload: Any) -> str:
    return (
        json.dumps(json.loads(encoded(payload)), indent=1, ensure_ascii=False).encode(errors="backslashreplace").decode() + "\n"
    )


@every_form
def test_the_golden_payload_of_a_chat(kind: str, form: str) -> None:
    golden(f"{kind}.{form}.json", pretty(rendered(CHANNELS[kind], hostile(ALL), form)))


def test_the_golden_payload_of_a_webhook() -> None:
    golden("webhook.json", pretty(webhook.payload(hostile(ALL))))


def test_the_golden_mail() -> None:
    golden(
        "mail.eml",
        mail.render(hostile(ALL), sender="gates@example.com", to=("data@example.com",))
        .as_bytes()
        .decode()
        .replace("\r\n", "\n"),
    )


def test_there_is_no_other_golden_file() -> None:
    names = {f"{kind}.{form}.json" for kind in CHANNELS for form in ("card", "text")} | {"webhook.json", "mail.eml"}
    extra = {path.name for path in GOLDEN.iterdir()} - names
    assert not extra, f"no test reads {extra}: remove it"


@every_form
@pytest.mark.parametrize(
    "text",
    [*ATTACKS.values(), ALL, LONG, "", " ", "\U0001f525" * 100_000, "<" * 100_000],
    ids=lambda text: text[:12].strip() or "empty",
)
def test_a_payload_keeps_to_its_schema_and_its_budget(kind: str, form: str, text: str) -> None:
    payload = rendered(CHANNELS[kind], hostile(text), form)
    check(kind, payload)
    assert CHANNELS[kind].size(payload) <= CHANNELS[kind].budget
    assert not [value for _, value in strings(payload) if any(c in value for c in "\r\x00\x1b\u202e\u200b\ufeff\u2028")]
    without = rendered(CHANNELS[kind], replace(hostile(text), blocks=hostile(text).blocks[:2]), form)
    assert "https://evil" not in encoded(without).decode(), "except in our own commands, no address is a link"


@pytest.mark.parametrize("items", [0, 1, 40, 5_000])
@every_form
def test_long_lists_are_cut_and_every_notice_fits(kind: str, form: str, items: int) -> None:
    lines = tuple(f"raw.table_{n}.row_count: " + "rows " * 60 for n in range(items))
    full = notice(
        blocks=(Facts(tuple((f"fact {n}", "x" * 300) for n in range(items))), Listing("Evidence", lines), *notice().blocks * 20)
    )
    payload = rendered(CHANNELS[kind], full, form)
    check(kind, payload)
    assert CHANNELS[kind].size(payload) <= CHANNELS[kind].budget
    body = encoded(payload).decode()
    assert "table raw.orders has 3 rows" in body
    assert " more" in body, "what is left out is counted"


def test_slack_reads_no_markup() -> None:
    for of in (hostile(ALL), hostile(LONG)):
        card = rendered(slack.SLACK, of, "card")
        assert len(card["blocks"]) <= 40
        for path, value in strings(card):
            if path[-1] == "text" and "blocks" in path:
                (kind,) = {each["type"] for each in [_at(card, path[:-1])]}
                # A text element of rich text reads no markup; plain text has no character that could start a mention.
                assert kind == "text" or (kind == "plain_text" and not set(value) & set("<>&"))
            if path == ("text",):
                assert "<" not in value
        assert "mrkdwn" not in str({kind for path, kind in strings(card) if path[-1] == "type"})
    text = rendered(slack.SLACK, hostile(ALL), "text")
    assert "<" not in text["text"]
    assert "&lt;!channel&gt;" in text["text"]
    assert text["mrkdwn"] is False


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


class Tags(HTMLParser):
    """The tags of a text, the addresses in them, and the text itself."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_google_chat_reads_no_markup() -> None:
    card = rendered(google_chat.GOOGLE_CHAT, hostile(ALL), "card")
    formatted = [value for path, value in strings(card) if path[-2:] in (("textParagraph", "text"), ("decoratedText", "text"))]
    assert len(formatted) >= 5
    for value in formatted:
        read = Tags(value)
        assert read.tags <= {"b", "i", "br"}
        assert read.attributes == []
    assert any("<users/all>" in Tags(value).text for value in formatted), "the text itself is still shown"
    for text in (rendered(google_chat.GOOGLE_CHAT, hostile(ALL), "text")["text"], card["fallbackText"]):
        assert not set(text) & set("<>*_~`")


def test_teams_reads_no_markup() -> None:
    for form in ("card", "text"):
        payload = rendered(teams.TEAMS, hostile(ALL), form)
        for path, value in strings(payload):
            if "evil.example" in value:
                assert _at(payload, path[:-1])["type"] in ("TextRun", "Action.OpenUrl", "AdaptiveCard"), path
        assert "entities" not in encoded(payload).decode(), "a mention would need one"
        urls = {value for path, value in strings(payload) if path[-1] == "url"}
        assert urls == ({"https://gates.example.com/ack?token=a.b&x=1"} if form == "card" else set())


@pytest.mark.parametrize("text", [ALL, LONG, ATTACKS["header"], ATTACKS["controls"]], ids=["all", "long", "header", "controls"])
def test_a_mail_has_only_our_headers_tags_and_addresses(text: str) -> None:
    made = mail.render(hostile(text), sender="gates@example.com", to=("data@example.com",))
    read = message_from_bytes(mail.as_sent(made), policy=policy.default)
    assert list(read.keys()) == [
        "Subject", "From", "To", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted", "X-Phasegate-Key",
        "Importance", "MIME-Version", "Content-Type",
    ]  # fmt: skip
    assert [part.get_content_type() for part in read.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    page = read.get_body(("html",)).get_content()
    tags = Tags(page)
    allowed = {"html", "head", "meta", "title", "body", "table", "tr", "td", "th", "div", "p", "ul", "li", "pre", "a", "i"}
    assert tags.tags <= allowed
    assert {value for name, value in tags.attributes if name in ("href", "src")} == {
        "https://gates.example.com/ack?token=a.b&x=1"
    }
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    assert len(mail.as_sent(made)) < 200_000
    assert all(len(line) <= 998 for line in mail.as_sent(made).splitlines())


@pytest.mark.parametrize("text", [*ATTACKS.values(), ALL, LONG, ""], ids=lambda text: text[:12].strip() or "empty")
def test_a_webhook_gets_hostile_text_as_plain_data(text: str) -> None:
    payload = fit(hostile(text), webhook.payload, lambda made: len(encoded(made)), webhook.BUDGET)
    check("webhook", payload)
    body = encoded(payload)
    assert len(body) <= webhook.BUDGET
    assert json.loads(body)["data"]["incident"] == json.loads(
        json.dumps(text if len(text) <= 500 else payload["data"]["incident"])
    )


def test_data_too_large_for_a_webhook_is_left_out_and_marked() -> None:
    large = notice(data={f"{n}": {f"{m}": "x" * 400 for m in range(100)} for n in range(100)})
    payload = webhook.payload(large)
    check("webhook", payload)
    assert (payload["data"], payload["data_left_out"]) == ({}, True)


def test_plain_text_and_headlines_have_one_line_for_each_text() -> None:
    assert "\n" not in headline(hostile(ALL))
    assert "\x1b" not in plain(hostile(ALL))
