"""Alerts: what belongs to one incident, whom to notify, when, and in which words."""
