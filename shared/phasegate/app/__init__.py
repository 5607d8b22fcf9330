"""From settings to a working program: wiring, pipeline files, serve."""
