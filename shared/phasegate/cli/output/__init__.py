"""What commands print for people, by subject. Imported only by a command that prints, because rich takes time to load."""
