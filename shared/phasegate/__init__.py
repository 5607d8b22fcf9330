"""Gates between the phases of a data pipeline."""
