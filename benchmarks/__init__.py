"""Our pool and its peers at the same work: ``python -m benchmarks``."""
