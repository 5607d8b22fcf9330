"""Gates between phases: what was reported and measured, and what that decides."""
