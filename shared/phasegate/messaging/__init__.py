"""Messages in and out: inbox, outbox, bodies, dead letters."""
