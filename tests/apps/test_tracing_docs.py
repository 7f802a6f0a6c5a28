"""What the page about tracing says holds, with the package that it names."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flask_mysqlpool import get_db
from flask_mysqlpool import StaleConnectionError

from ..support.queries import execute
from .test_docs import EXAMPLE_URL
from .test_docs import examples


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Where the spans of the global provider go."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)
    return exporter


@pytest.fixture
def page(mysql_url: str, spans: InMemorySpanExporter) -> Iterator[dict[str, t.Any]]:
    """The names of the page's example."""
    if not find_spec("opentelemetry.instrumentation"):
        pytest.skip("opentelemetry-instrumentation-pymysql is not installed")
    code = examples("docs/tracing.rst")
    code = code.replace(EXAMPLE_URL, f"{mysql_url}?ssl_disabled=1")
    names: dict[str, t.Any] = {"__name__": "traced_bank"}
    exec(compile(code, "docs/tracing.rst", "exec"), names)
    with names["app"].app_context():
        execute(get_db(), "CREATE TABLE account (owner VARCHAR(60), balance INT)")
    yield names
    names["app"].extensions["mysqlpool"]["default"].close()


def statements(spans: InMemorySpanExporter) -> list[t.Any]:
    found = [
        (span.attributes or {})["db.statement"] for span in spans.get_finished_spans()
    ]
    spans.clear()
    return found


def test_example_traces_each_statement(
    page: dict[str, t.Any], spans: InMemorySpanExporter
) -> None:
    client = page["app"].test_client()
    assert client.post("/accounts").status_code == 201
    (insert,) = statements(spans)
    assert insert.startswith("INSERT INTO account")
    assert client.get("/owners").json == ["Ada"]
    assert statements(spans) == ["SELECT owner FROM account WHERE balance > %s"]
    reading = page["app"].extensions["mysqlpool"]["default"].stats()
    assert (reading.in_use, reading.size) == (0, 1)


def test_instrument_sees_no_pooled_statement(
    page: dict[str, t.Any], spans: InMemorySpanExporter
) -> None:
    instrumentor = page["PyMySQLInstrumentor"]()
    instrumentor.instrument()
    try:
        with page["app"].app_context():
            execute(get_db(), "SELECT 1")
    finally:
        instrumentor.uninstrument()
    assert statements(spans) == []


def test_comment_that_names_the_trace_makes_no_reset_necessary(
    page: dict[str, t.Any], spans: InMemorySpanExporter
) -> None:
    with page["app"].app_context():
        db = get_db()
        with page["traced"](db, enable_commenter=True).cursor() as cursor:
            cursor.execute("SELECT owner FROM account")
        assert b"traceparent" in db.session.last_statement.encode()  # type: ignore[union-attr]
        assert not db.session.state.changed


def test_wrapper_is_dead_after_the_return(page: dict[str, t.Any]) -> None:
    with page["app"].app_context():
        db = page["traced"](get_db())
    with pytest.raises(StaleConnectionError):
        db.cursor().execute("SELECT 1")
