"""docs/alerts.md is correct: its pipeline file loads, its receiver verifies signatures, its alerts are those of the demo."""

import json
import re
import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from phasegate.adapters.channels.webhook import Webhook
from phasegate.adapters.secrets import RememberedSecrets
from phasegate.app.pipeline_file import load
from phasegate.core.alerts.wording import compose_test
from phasegate.core.pipeline.model import DestinationKind
from phasegate.testing import ManualClock

from tests.canaries import canary
from tests.receivers import Receiver, Reply

REPO = Path(__file__).parents[2]
TEXT = (REPO / "docs" / "alerts.md").read_text()


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    return text


def test_its_example_is_a_valid_pipeline_file_with_every_kind_of_destination(tmp_path: Path) -> None:
    rest = "pipeline: shop\ncalendar: {from: 2026-01-01}\nphases:\n  raw: {outputs: {raw.orders: {date: day}}}\n"
    (tmp_path / "shop.yaml").write_text(rest + block("yaml"))
    kinds = {destination.kind for destination in load(tmp_path / "shop.yaml").alerts.destinations.values()}
    missing = {kind for kind in DestinationKind if kind not in kinds or f"| `{kind}` |" not in TEXT}
    assert not missing, f"add {', '.join(missing)} to the example and to the table under Destinations in docs/alerts.md"


def test_its_receiver_accepts_genuine_alerts_only(trusted: trustme.CA) -> None:
    names: dict[str, Any] = {}
    exec(block("python"), names)  # noqa: S102
    is_genuine = names["is_genuine"]
    receiver = Receiver(trusted, usual=Reply(204, b""))
    values = {"url": receiver.address, "key": canary("key")}
    now = datetime.now(UTC)
    clock = ManualClock(now)
    webhook = Webhook("secret://url", key="secret://key", secrets=RememberedSecrets(lambda name: values[name]), clock=clock)
    webhook.notify(compose_test("shop/pager", key="k", now=now))
    clock.set(now - timedelta(minutes=6))
    webhook.notify(compose_test("shop/pager", key="k", now=now))
    receiver.close()
    good, old = receiver.posted
    assert is_genuine(good.headers, good.body, canary("key"))
    assert not is_genuine(good.headers, good.body + b" ", canary("key"))
    assert not is_genuine(good.headers, good.body, canary("another"))
    assert not is_genuine({**good.headers, "X-Phasegate-Timestamp": str(int(now.timestamp()) + 1)}, good.body, canary("key"))
    assert not is_genuine(old.headers, old.body, canary("key")), "it was sent six minutes ago"
    assert json.loads(good.body)["key"] == good.headers["X-Phasegate-Key"]


def test_the_alerts_of_the_demo_are_current() -> None:
    generate = runpy.run_path(str(REPO / "docs" / "generate.py"))
    assert generate["generated"](TEXT, generate["ALERTS"]) == TEXT, "run `make docs`"
    assert TEXT.count("```text\n") == 5


@pytest.mark.parametrize("name", ["mail", "google_chat", "slack", "teams"])
def test_every_picture_exists_and_is_small(name: str) -> None:
    picture = REPO / "docs" / "pictures" / f"{name}.png"
    assert f"pictures/{name}.png" in TEXT
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 150_000


def test_the_pictures_are_current() -> None:
    pictures = runpy.run_path(str(REPO / "docs" / "pictures.py"))
    assert pictures["drawn"]() == (REPO / "docs" / "pictures" / "drawn.txt").read_text(), "run `make pictures`"


def test_everything_in_a_picture_is_drawn() -> None:
    """Each picture shows all that its payload says."""
    pictures = runpy.run_path(str(REPO / "docs" / "pictures.py"))
    notice = pictures["held"]()
    for name, draw in pictures["DRAWN"].items():
        page = draw(notice)
        for words in (
            "[flights] raw, 3 dates",
            "The gate of raw stays closed",
            "A file or partition was loaded in part",
            "Acknowledge",
        ):
            assert words in page, name
        for line in (
            "phasegate validate 2013-02-05..2013-02-07 --phase raw --pipeline flights",
            "2013-02-07: table raw.flights has 461 rows",
        ):
            assert line in page, name
