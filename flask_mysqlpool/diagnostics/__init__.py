"""What `flask pool check` looks at."""
