#!/usr/bin/env python3
"""The gcloud commands of infra/deploy.sh, on folders: a bucket is a folder of FAKE_CLOUD, a topic a file with a message per line."""

import os
import shutil
import sys
from pathlib import Path


def cloud() -> Path:
    """The folder of buckets and topics."""
    return Path(os.environ["FAKE_CLOUD"])


def place(name: str) -> Path:
    """Where an object or a local file is."""
    return cloud() / name.removeprefix("gs://") if name.startswith("gs://") else Path(name)


def main() -> None:
    """Run the command line; an unknown command fails."""
    match sys.argv[1:]:
        case ["storage", "cp", *options, source, target] if set(options) <= {"--no-clobber"}:
            kept = "--no-clobber" in options and place(target).exists()
            if not kept:
                place(target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(place(source), place(target))
        case ["storage", "ls", folder]:
            found = sorted(place(folder).iterdir())
            sys.stdout.writelines(f"{folder}{each.name}{'/' if each.is_dir() else ''}\n" for each in found)
        case ["info", "--format=value(installation.sdk_root)"]:
            sys.stdout.write(f"{cloud() / 'sdk'}\n")
        case ["storage", "buckets", "describe", bucket]:
            sys.exit(0 if place(bucket).is_dir() else 1)
        case ["pubsub", "topics", "publish", topic, message] if message.startswith("--message="):
            with (cloud() / topic.replace("/", "_")).open("a") as file:
                file.write(message.removeprefix("--message=") + "\n")
        case other:
            sys.exit(f"fake gcloud: {other}")


if __name__ == "__main__":
    main()
