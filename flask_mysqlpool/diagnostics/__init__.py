"""The checks of `flask pool check`."""
