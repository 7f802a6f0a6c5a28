"""What the settings are, and how they are read."""
