"""One module per outside system; imported by `phasegate.wiring` only."""
