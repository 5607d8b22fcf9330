"""Gates between the phases of a data pipeline.

A pipeline's own code uses `phasegate.preflight`, `phasegate.report` and `phasegate.retrying`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phasegate.client.preflight import preflight as preflight
    from phasegate.client.report import report as report
    from phasegate.client.retrying import retrying as retrying
    from phasegate.core.gates.preflight import NotNow as NotNow
else:
    # Imported on first use: functions and commands that don't need these start faster without.
    _HOMES = {
        "NotNow": "phasegate.core.gates.preflight",
        "preflight": "phasegate.client.preflight",
        "report": "phasegate.client.report",
        "retrying": "phasegate.client.retrying",
    }

    def __getattr__(name):
        """Import one of the exported names from its module."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)


__all__ = ["NotNow", "preflight", "report", "retrying"]
