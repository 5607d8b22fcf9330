"""Gates with the world attached: the monitor, the tick, preflight checks, backfills, replay."""
