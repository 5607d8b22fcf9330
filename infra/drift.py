"""Writes the result of a Terraform plan as one message: the resources and arguments that differ, never a value.

    terraform plan -detailed-exitcode -lock=false -input=false -out=drift.plan 2> plan.log; code=$?
    terraform show -json drift.plan > plan.json
    python infra/drift.py plan.json --exit-code $code --log plan.log --commit "$COMMIT_SHA" --build "$BUILD_ID" > message.json
    gcloud pubsub topics publish TOPIC --message="$(cat message.json)"

The plan is of the commit that was applied last, so whatever it would change was changed outside Terraform. An empty plan gives a
message, too: it ends the incident. So does a failed plan. The message follows shared/phasegate/schemas/drift.schema.json. This needs
only the standard library; the image with gcloud has a Python.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

OUTCOMES = {0: "clean", 2: "drifted"}
"""Outcomes by exit code of `terraform plan -detailed-exitcode`; any other code means failed."""

MAX_BYTES = 50_000
"""Of the message. gcloud takes it as an argument, which may have 131,072. Source: execve(2), MAX_ARG_STRLEN."""

MAX_ARGUMENTS = 20
"""Arguments that are named per resource."""

MAX_TEXT = 300
"""Characters of an address, a path or a line of Terraform's output."""

COPIES = ("effective_labels", "terraform_labels")
"""The provider computes these from `labels`; they are named only when nothing else differs."""

ACTIONS = {
    ("create",): "create",
    ("update",): "update",
    ("delete",): "delete",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
    ("forget",): "forget",
}
"""Terraform's actions. A resource that it would create is missing; one that it would delete is left over."""


def message(
    plan: Mapping[str, Any] | None, *, code: int, now: datetime, log: str = "", commit: str = "", build: str = ""
) -> Any:
    """The message.

    Args:
        plan: The plan, as `terraform show -json` writes it; None without one.
        code: The exit code of `terraform plan -detailed-exitcode`.
        log: What it wrote to standard error; only the first lines of errors are used.
        commit: The commit whose configuration was compared.
        build: The build that ran the check.
    """
    outcome = OUTCOMES.get(code, "failed")
    if plan is None and outcome != "failed":
        outcome, log = "failed", "Error: the plan could not be read"
    found = list(changes(plan)) if plan is not None and outcome == "drifted" else []
    result: dict[str, Any] = {
        "outcome": outcome,
        "at": (plan or {}).get("timestamp") or now.isoformat(),
        "commit": commit[:MAX_TEXT],
        "build": build[:MAX_TEXT],
        "changes": [],
        "omitted": len(found),
        "errors": headlines(log) if outcome == "failed" else [],
    }
    size = len(json.dumps(result))
    for change in found:
        size += len(json.dumps(change)) + 2
        if size > MAX_BYTES:
            break
        result["changes"].append(change)
        result["omitted"] -= 1
    return result


def changes(plan: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The changes of the plan, by resource, then by output."""
    for resource in sorted(plan.get("resource_changes", ()), key=lambda resource: str(resource["address"])):
        change = resource["change"]
        action = ACTIONS.get(tuple(change["actions"]))
        if action is None and "importing" in change:
            action = "import"
        if action is None and "previous_address" in resource:
            action = "move"
        if action is not None:
            named = list(arguments(change)) if action in ("update", "replace") else []
            yield _change(resource["address"], action, named)
    for name, change in sorted(plan.get("output_changes", {}).items()):
        if action := ACTIONS.get(tuple(change["actions"])):
            yield _change(f"output.{name}", action, [])


def _change(address: str, action: str, named: list[str]) -> dict[str, Any]:
    shown = [_short(path) for path in named[:MAX_ARGUMENTS]]
    return {"address": _short(address), "action": action, "arguments": shown, "omitted": len(named) - len(shown)}


def arguments(change: Mapping[str, Any]) -> Iterator[str]:
    """The paths of the arguments that differ, those that force a replacement first; never a value."""
    forcing = [path("", *keys) for keys in change.get("replace_paths", ())]
    differing = list(differences(change.get("before"), change.get("after"), change.get("after_unknown")))
    own = [argument for argument in differing if not argument.startswith(COPIES)] or differing
    yield from dict.fromkeys(forcing + own)


def differences(before: Any, after: Any, unknown: Any, at: str = "") -> Iterator[str]:
    """Paths at which two values differ; values that are only known after the change are ignored."""
    if unknown is True or before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        named = unknown if isinstance(unknown, dict) else {}
        for key in sorted(before.keys() | after.keys()):
            yield from differences(before.get(key), after.get(key), named.get(key), path(at, key))
    elif _are_blocks(before, after):
        hidden = unknown if isinstance(unknown, list) and len(unknown) == len(before) else [None] * len(before)
        for n, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, hidden[n], path(at, n))
    else:
        yield at or "(everything)"


def _are_blocks(before: Any, after: Any) -> bool:
    """True for two lists of the same blocks. In lists of plain values an index means nothing."""
    lists = isinstance(before, list) and isinstance(after, list) and len(before) == len(after)
    return lists and all(isinstance(block, dict) for block in (*before, *after))


def path(at: str, *keys: str | int) -> str:
    """A path as Terraform writes it: `retry_policy[0].minimum_backoff`, `labels["team-a"]`."""
    for key in keys:
        if isinstance(key, int):
            at += f"[{key}]"
        elif re.fullmatch(r"\w+", key):
            at += f".{key}" if at else key
        else:
            at += f"[{json.dumps(key)}]"
    return at


def headlines(log: str) -> list[str]:
    """The first line of each of Terraform's errors; the lines after it may quote values."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log)
    lines = re.findall(r"^[╷│ ]*(Error: .*)$", plain, re.MULTILINE)
    return [_short(line.rstrip()) for line in dict.fromkeys(lines)][:5]


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def read(file: Path) -> Any:
    """A JSON object from a file; None without one."""
    try:
        document = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write the result of a Terraform plan as one message.")
    parser.add_argument("plan", type=Path, help="output of `terraform show -json`; may be missing when the plan failed")
    parser.add_argument("--exit-code", type=int, required=True, help="of `terraform plan -detailed-exitcode`: 0, 2, or another")
    parser.add_argument("--log", type=Path, help="standard error of the plan")
    parser.add_argument("--commit", default="", help="the commit whose configuration was compared")
    parser.add_argument("--build", default="", help="the build that ran the check")
    options = parser.parse_args()
    log = options.log.read_text(errors="replace") if options.log is not None and options.log.exists() else ""
    result = message(
        read(options.plan), code=options.exit_code, now=datetime.now(UTC), log=log, commit=options.commit, build=options.build
    )
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__":
    main()
