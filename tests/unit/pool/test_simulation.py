"""The state machine of the pool under threads, interrupts, forks and a bad server.

A step is one hand-over of the baton to a thread. What happens is drawn from one seed: a
failure names it. MYSQLPOOL_SIM_SEED runs that seed alone, MYSQLPOOL_SIM_STEPS
says how many steps.
"""

from __future__ import annotations

import os

import pytest

from ...support.simulation import Simulation
from ...support.simulation_faults import changed
from ...support.simulation_faults import FAULTS

SEED = os.environ.get("MYSQLPOOL_SIM_SEED", "")
STEPS = int(os.environ.get("MYSQLPOOL_SIM_STEPS", "25000"))
SEEDS = [int(SEED)] if SEED else [1, 2, 3, 4]  # 100,000 steps in all
STEPS_TO_FIND = 2_000_000


def simulate(seed: int, steps: int, *expected: type[Exception]) -> Simulation:
    simulation = Simulation(seed, expected=expected)
    simulation.run(steps)
    return simulation


@pytest.mark.parametrize("seed", SEEDS)
def test_pool_keeps_its_promises(seed: int) -> None:
    simulation = simulate(seed, STEPS)
    scheduler = simulation.scheduler
    assert not scheduler.faults, (
        f"seed {seed}, step {scheduler.steps}: {scheduler.faults[0]}; the last"
        f" interrupts: {scheduler.interrupts[-3:]}"
    )
    assert scheduler.steps >= STEPS
    assert simulation.done.keys() >= {"check_out", "give_back", "interrupt", "fork"}


def test_seed_decides_everything() -> None:
    first, second = (simulate(5, 2_000) for _ in range(2))
    assert first.done == second.done
    assert first.random.random() == second.random.random()


@pytest.mark.parametrize("fault", FAULTS)
def test_simulation_finds(fault: str) -> None:
    changes = FAULTS[fault]
    steps = 0
    with changed(changes):
        for seed in range(100, 200):
            simulation = simulate(seed, STEPS_TO_FIND // 100, TypeError)
            steps += simulation.scheduler.steps
            if simulation.scheduler.faults:
                return
    pytest.fail(f"{fault}: not found within {steps} steps")
