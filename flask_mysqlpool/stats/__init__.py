"""Plain data about pools: numbers and holders."""
