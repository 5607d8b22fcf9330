"""Gates between the phases of a data pipeline.

For the pipeline's own code there are `phasegate.preflight`, `phasegate.report` and `phasegate.retrying`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phasegate.client.preflight import preflight as preflight
    from phasegate.client.report import report as report
    from phasegate.client.retrying import retrying as retrying
    from phasegate.core.gates.preflight import NotNow as NotNow
else:
    # Loaded when they are first used: a function that judges, or a command, does not pay for what it does not call.
    _HOMES = {
        "NotNow": "phasegate.core.gates.preflight",
        "preflight": "phasegate.client.preflight",
        "report": "phasegate.client.report",
        "retrying": "phasegate.client.retrying",
    }

    def __getattr__(name):
        """Give what a pipeline's own code uses, from the module where it is."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)


__all__ = ["NotNow", "preflight", "report", "retrying"]
