"""Shared by the benchmarks: medians, whole processes, and a table of ratios."""

import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median

REPO = Path(__file__).parents[1]


def timed(work: Callable[[], object], times: int = 9) -> float:
    """Median seconds of a piece of work."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def process(*command: str, environ: Mapping[str, str] | None = None) -> Callable[[], object]:
    """A whole process, start included."""
    return lambda: subprocess.run(command, check=False, stdout=subprocess.DEVNULL, cwd=REPO, env=environ)


def report(name: str, title: str, lead: str, rows: Iterable[tuple[str, float, float]]) -> None:
    """Print the results and write them to `bench/results/NAME.md`: what, the floor's seconds, ours, and the ratio."""
    text = "| what | floor s | phasegate s | ratio |\n|---|---|---|---|\n"
    text += "".join(f"| {what} | {floor:.3f} | {ours:.3f} | {ours / floor:.2f} |\n" for what, floor, ours in rows)
    print(text)
    (REPO / f"bench/results/{name}.md").write_text(f"# {title}\n\n{lead}\n\n{text}")
