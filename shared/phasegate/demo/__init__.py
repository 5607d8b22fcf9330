"""The demo: a year of real flights with its own defects, and a story that adds some more."""
