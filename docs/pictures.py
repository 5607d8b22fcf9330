"""Draw an alert as each channel shows it: docs/pictures/*.png. Run as `make pictures`; needs Chromium and a font with emoji.

The mail is the page that is sent. A chat's card is drawn from the payload that is posted: each element becomes simple HTML, in the
order of the payload. Fonts and spacing of the chats are not imitated; what people read, and in which order, is the same.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from phasegate.adapters.channels.google_chat import GOOGLE_CHAT
from phasegate.adapters.channels.mail import html, subject
from phasegate.adapters.channels.slack import SLACK
from phasegate.adapters.channels.teams import TEAMS
from phasegate.core.alerts.incident import Incident, Member, NotifyReason
from phasegate.core.alerts.notice import Link, Notice, fit
from phasegate.core.alerts.wording import compose
from phasegate.core.pipeline.model import AlertSeverity

PICTURES = Path(__file__).parent / "pictures"
SCREEN = (720, 720)
"""Width and height of the window in pixels."""

Payload = Mapping[str, Any]


def held() -> Notice:
    """Three dates whose files arrived only in half: one cause, one incident, and the phases that it holds up."""
    since = datetime(2013, 2, 6, 10, 31, tzinfo=UTC)
    rows = {"2013-02-05": (448, 896), "2013-02-06": (457, 915), "2013-02-07": (461, 923)}
    members = {
        day: Member(
            name=day,
            key=f"flights/raw/{day}/v2/checks_failed",
            severity=AlertSeverity.CRITICAL,
            detail=f"table raw.flights has {got} rows, 0.5 × the {due} expected; it must be 0.98 to 1.02 ×",
            since=since + timedelta(days=n),
            at=since + timedelta(days=n),
            gate="held",
            about=("raw.flights.row_count",),
            check_kinds=("row_count",),
            effect="The gate of raw stays closed: clean, features, predictions cannot start.",
        )
        for n, (day, (got, due)) in enumerate(rows.items())
    }
    incident = Incident(
        pipeline="flights",
        subject="raw",
        cause="checks_failed",
        opened_at=since,
        members=members,
        speaks_for={"clean": tuple(rows), "features": tuple(rows)},
    )
    links = (
        Link("Acknowledge", "https://gates.example.com/ack/flights-raw"),
        Link("Open the dashboard", "https://gates.example.com/"),
    )
    return compose(
        incident, NotifyReason.NEW_MEMBER, now=since + timedelta(days=2), key="picture", new=("2013-02-07",), links=links
    )


def slack(payload: Payload) -> str:
    """A message of Slack."""

    def element(node: Payload) -> str:
        match node["type"]:
            case "header":
                return f"<h3>{escape(node['text']['text'])}</h3>"
            case "rich_text" | "rich_text_list" | "rich_text_section" | "rich_text_preformatted" as kind:
                inside = "".join(element(inner) for inner in node["elements"])
                tag = {"rich_text": "div", "rich_text_list": "ul", "rich_text_preformatted": "pre"}.get(kind, "p")
                return f"<li>{inside}</li>" if kind == "rich_text_section" and node.get("_item") else f"<{tag}>{inside}</{tag}>"
            case "text":
                text = escape(node["text"])
                return f"<b>{text}</b>" if node.get("style", {}).get("bold") else text
            case "actions":
                return "".join(f"<span class=button>{escape(button['text']['text'])}</span>" for button in node["elements"])
            case other:
                raise ValueError(f"cannot draw {other}")

    def items(node: Any) -> Any:
        if node.get("type") == "rich_text_list":
            return {**node, "elements": [{**inner, "_item": True} for inner in node["elements"]]}
        return {**node, "elements": [items(inner) for inner in node["elements"]]} if "elements" in node else node

    return page("Slack", "".join(element(items(block)) for block in payload["blocks"]))


def google_chat(payload: Payload) -> str:
    """A card of Google Chat; its formatted texts are HTML already."""
    content = payload["cardsV2"][0]["card"]
    parts = [f"<h3>{escape(content['header']['title'])}</h3>"]
    for section in content["sections"]:
        for widget in section["widgets"]:
            match widget:
                case {"textParagraph": {"text": text}}:
                    parts.append(f"<p>{text}</p>")
                case {"decoratedText": {"topLabel": label, "text": text}}:
                    parts.append(f"<p><span class=label>{escape(label)}</span><br>{text}</p>")
                case {"buttonList": {"buttons": buttons}}:
                    parts += [f"<span class=button>{escape(button['text'])}</span>" for button in buttons]
                case _:
                    raise ValueError(f"cannot draw {widget}")
    return page("Google Chat", "".join(parts))


def teams(payload: Payload) -> str:
    """A card of Teams."""
    colours = {"attention": "#c4314b", "warning": "#9a5b00", "accent": "#1a5fb4", "good": "#237b4b"}
    parts = []
    for element in payload["attachments"][0]["content"]["body"]:
        if element["type"] == "ActionSet":
            parts += [f"<span class=button>{escape(action['title'])}</span>" for action in element["actions"]]
            continue
        inside = ""
        for run in element["inlines"]:
            style = "font-weight:bold;" if run.get("weight") == "bolder" else ""
            style += "font-size:19px;" if run.get("size") == "large" else ""
            style += "font-family:monospace;" if run.get("fontType") == "monospace" else ""
            style += f"color:{colours[run['color']]}" if "color" in run else ""
            inside += f'<span style="{style}">{escape(run["text"])}</span>'
        parts.append(f'<p style="margin-top:{12 if element["spacing"] == "medium" else 3}px">{inside}</p>')
    return page("Teams", "".join(parts))


def page(channel: str, body: str) -> str:
    """A window with one message in it."""
    return f"""<!DOCTYPE html><meta charset="utf-8"><style>
body {{margin: 0; padding: 16px; background: #f3f3f5; font: 15px/1.4 'DejaVu Sans', sans-serif; color: #1d1c1d}}
small {{color: #616061}} .card {{background: #fff; border: 1px solid #d9d9de; border-radius: 8px; padding: 14px 18px; margin-top: 8px}}
h3 {{margin: 0 0 6px; font-size: 18px}} p {{margin: 3px 0}} ul {{margin: 4px 0; padding-left: 22px}} .label {{color: #616061; font-size: 13px}}
pre {{background: #f3f3f5; padding: 8px 10px; margin: 4px 0; white-space: pre-wrap; font-size: 13px}}
.button {{display: inline-block; border: 1px solid #8d8d92; border-radius: 5px; padding: 5px 12px; margin: 8px 8px 2px 0}}
</style><small>{escape(channel)}: a preview of the payload, not a screenshot</small><div class="card">{body}</div>"""


def chat(channel: Any, draw: Callable[[Payload], str]) -> Callable[[Notice], str]:
    """From a notice to the page of a chat's card."""
    return lambda notice: draw(fit(notice, channel.card, channel.size, channel.budget))


DRAWN: Mapping[str, Callable[[Notice], str]] = {
    "mail": html,
    "google_chat": chat(GOOGLE_CHAT, google_chat),
    "slack": chat(SLACK, slack),
    "teams": chat(TEAMS, teams),
}


def drawn() -> str:
    """A digest of what each picture is drawn from, so that a test notices a picture that is out of date."""
    notice = held()
    return "".join(f"{name} {sha256(draw(notice).encode()).hexdigest()[:16]}\n" for name, draw in DRAWN.items())


def main() -> None:
    """Write the pictures."""
    browser = (
        os.environ.get("CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if browser is None:
        sys.exit("Chromium is needed: install it, or set CHROMIUM=path")
    notice = held()
    print(subject(notice))
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / "drawn.txt").write_text(drawn(), "utf-8")
    for name, draw in DRAWN.items():
        with TemporaryDirectory() as folder:
            source = Path(folder) / "page.html"
            source.write_text(draw(notice), "utf-8")
            subprocess.run(
                [
                    browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}",
                    f"--window-size={SCREEN[0]},{SCREEN[1]}", f"--screenshot={PICTURES / f'{name}.png'}", source.as_uri(),
                ],
                check=True,
                capture_output=True,
                timeout=120,
            )  # fmt: skip


if __name__ == "__main__":
    main()
