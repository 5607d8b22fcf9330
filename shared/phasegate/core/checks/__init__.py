"""What a phase's tables must hold: which numbers a check needs, and what they mean."""
