"""What commands print for people, by subject; rich is imported here only, when a command prints."""
