"""Metrics in the names of the field, for Prometheus and for OpenTelemetry. Each is an
optional extra that nothing else imports.
"""
