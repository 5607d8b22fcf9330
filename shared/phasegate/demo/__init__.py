"""The demo: a year of real flights, what goes wrong in it by itself, and what a story breaks on top."""
