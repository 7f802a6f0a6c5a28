"""The command line: `flask pool`."""
