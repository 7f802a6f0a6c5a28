"""Metrics for Prometheus and OpenTelemetry, in the names of its conventions. Each is
an optional extra that no other module imports.
"""
