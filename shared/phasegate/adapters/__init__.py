"""One module per outside system; imported by `phasegate.app.wiring` only."""
