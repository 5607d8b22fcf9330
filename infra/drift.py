"""Say as one message what a Terraform plan found to be otherwise than declared: which resource, which argument, never a value.

    terraform plan -detailed-exitcode -lock=false -input=false -out=drift.plan 2> plan.log; code=$?
    terraform show -json drift.plan > plan.json
    python infra/drift.py plan.json --exit-code $code --log plan.log --commit "$COMMIT_SHA" --build "$BUILD_ID" > message.json
    gcloud pubsub topics publish TOPIC --message="$(cat message.json)"

The plan is the one of the commit that was applied last, so whatever it would change was changed behind Terraform's back. An empty
plan is a message too: it ends the incident. So is a plan that failed. The message keeps to
shared/phasegate/schemas/drift.schema.json. Nothing but the standard library is used; the image with gcloud has a Python.
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
"""What the exit codes of `terraform plan -detailed-exitcode` mean; any other: failed."""

MOST_BYTES = 50_000
"""Of the message. An argument of a program, as gcloud takes it, may have 131,072. Source: execve(2), MAX_ARG_STRLEN."""

MOST_ARGUMENTS = 20
"""Named of one resource."""

LONGEST = 300
"""Characters of an address, a path or a line of Terraform."""

COPIES = ("effective_labels", "terraform_labels")
"""What the provider computes from `labels`; not told beside it."""

ACTIONS = {
    ("create",): "create",
    ("update",): "update",
    ("delete",): "delete",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
    ("forget",): "forget",
}
"""What Terraform would do, as it says it. A resource that it would create is gone; one that it would delete is left over."""


def message(
    plan: Mapping[str, Any] | None, *, code: int, now: datetime, log: str = "", commit: str = "", build: str = ""
) -> Any:
    """The message.

    Args:
        plan: The plan, as `terraform show -json` writes it; None when there is none.
        code: The exit code of `terraform plan -detailed-exitcode`.
        log: What it wrote on standard error; only headlines of errors are taken from it.
        commit: The commit whose configuration was compared.
        build: The build that did it.
    """
    outcome = OUTCOMES.get(code, "failed")
    if plan is None and outcome != "failed":
        outcome, log = "failed", "Error: the plan could not be read"
    found = list(changes(plan)) if plan is not None and outcome == "drifted" else []
    told: dict[str, Any] = {
        "outcome": outcome,
        "at": (plan or {}).get("timestamp") or now.isoformat(),
        "commit": commit[:LONGEST],
        "build": build[:LONGEST],
        "changes": [],
        "omitted": len(found),
        "errors": headlines(log) if outcome == "failed" else [],
    }
    size = len(json.dumps(told))
    for change in found:
        size += len(json.dumps(change)) + 2
        if size > MOST_BYTES:
            break
        told["changes"].append(change)
        told["omitted"] -= 1
    return told


def changes(plan: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What the plan would change, resource by resource, then outputs."""
    for resource in sorted(plan.get("resource_changes", ()), key=lambda each: str(each["address"])):
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
    kept = [_short(path) for path in named[:MOST_ARGUMENTS]]
    return {"address": _short(address), "action": action, "arguments": kept, "omitted": len(named) - len(kept)}


def arguments(change: Mapping[str, Any]) -> Iterator[str]:
    """The paths of the arguments that differ; those that force a replacement first. No value is ever given."""
    forcing = [path("", *keys) for keys in change.get("replace_paths", ())]
    differing = list(differences(change.get("before"), change.get("after"), change.get("after_unknown")))
    own = [each for each in differing if not each.startswith(COPIES)] or differing
    yield from dict.fromkeys(forcing + own)


def differences(before: Any, after: Any, unknown: Any, at: str = "") -> Iterator[str]:
    """Paths at which two values differ; what will be known only after the change is no difference."""
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
    """True for two lists of the same blocks; in a list of plain values a place says nothing."""
    lists = isinstance(before, list) and isinstance(after, list) and len(before) == len(after)
    return lists and all(isinstance(each, dict) for each in (*before, *after))


def path(at: str, *keys: str | int) -> str:
    """A place as Terraform writes it: `retry_policy[0].minimum_backoff`, `labels["team-a"]`."""
    for key in keys:
        if isinstance(key, int):
            at += f"[{key}]"
        elif re.fullmatch(r"\w+", key):
            at += f".{key}" if at else key
        else:
            at += f"[{json.dumps(key)}]"
    return at


def headlines(log: str) -> list[str]:
    """The first line of each error that Terraform wrote; what follows it may quote values."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log)
    found = re.findall(r"^[╷│ ]*(Error: .*)$", plain, re.MULTILINE)
    return [_short(line.rstrip()) for line in dict.fromkeys(found)][:5]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def read(file: Path) -> Any:
    """A JSON object from a file; None when there is none."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description="Say as one message what a Terraform plan found to be otherwise than declared."
    )
    parser.add_argument("plan", type=Path, help="what `terraform show -json` wrote; may be missing when the plan failed")
    parser.add_argument("--exit-code", type=int, required=True, help="of `terraform plan -detailed-exitcode`: 0, 2, or another")
    parser.add_argument("--log", type=Path, help="what the plan wrote on standard error")
    parser.add_argument("--commit", default="", help="the commit whose configuration was compared")
    parser.add_argument("--build", default="", help="the build that did it")
    given = parser.parse_args()
    log = given.log.read_text(errors="replace") if given.log is not None and given.log.exists() else ""
    told = message(
        read(given.plan), code=given.exit_code, now=datetime.now(UTC), log=log, commit=given.commit, build=given.build
    )
    json.dump(told, sys.stdout)
    print()


if __name__ == "__main__":
    main()
