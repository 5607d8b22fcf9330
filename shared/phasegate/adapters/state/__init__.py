"""State stores: Firestore, and SQLite for one machine."""
