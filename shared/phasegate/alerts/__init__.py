"""Alerts with the world attached: incidents, sending, destinations, silences."""
