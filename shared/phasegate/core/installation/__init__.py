"""Findings about an installation, on any platform."""
