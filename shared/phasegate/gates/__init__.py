"""Gates with the world attached: the monitor, the clock, pre-flight, backfills, replay."""
