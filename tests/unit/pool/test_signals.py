"""A signal handler that raises, at any moment of a checkout or return."""

from __future__ import annotations

import pytest

from ...support.interrupted_process import InterruptedProcess

SIGNALS = 10_000


@pytest.mark.parametrize("max_size", [1, 2])
@pytest.mark.parametrize("pause", [0, 2e-5])
def test_signals_at_any_moment_lose_no_place(max_size: int, pause: float) -> None:
    arguments = str(max_size), str(pause), str(SIGNALS)
    with InterruptedProcess("storm_without_server", *arguments) as child:
        report = child.report()
    unowned = report.pop("unowned")  # places that only the housekeeper found
    assert report.pop("interrupted") >= SIGNALS, report
    assert not any(report.values()), f"{report}, {unowned} found by the housekeeper"
