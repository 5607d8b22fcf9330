"""What is known of an installation itself, whatever the platform."""
