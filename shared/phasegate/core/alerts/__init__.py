"""Incidents: what people are told, when, and in which words."""
