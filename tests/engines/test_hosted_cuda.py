"""Hosted engines on a GPU: the block both processes see is CUDA memory. Skipped where there is none."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_hosting
import pytest
import torch
from fake_hosting import make

from mimickit_hydra.engines.interface import ObjectSpec, ResetState, SceneSpec
from mimickit_hydra.engines.registry import engine_requirements, make_engine

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

DEVICE = "cuda:0"
HUMANOID = Path(__file__).parents[2] / "mimickit_hydra" / "data" / "assets" / "humanoid" / "humanoid.xml"


@pytest.fixture(autouse=True)
def _fake_engine() -> Iterator[None]:
    fake_hosting.add_fake_engine()
    yield
    fake_hosting.remove_fake_engine()


def check_round_trips(engine: Any) -> None:
    """Every kind of tensor, many times without synchronising, so that a missing wait would show."""
    n = engine.num_envs
    one, two = engine.states
    assert one.dof_pos.is_cuda
    addresses = [tensor.data_ptr() for tensor in vars(one).values()]
    expected = torch.zeros(n, 3, device=DEVICE)
    wrong = torch.zeros((), dtype=torch.int64, device=DEVICE)
    for k in range(200):
        expected = expected + torch.rand(n, 3, device=DEVICE)
        engine.set_command(expected)
        engine.set_command(-expected, obj=1)
        engine.step()
        wrong += (one.dof_pos != expected).sum() + (two.dof_pos != -expected).sum()
        if k % 10 == 0:
            mask = torch.rand(n, device=DEVICE) < 0.5
            new = ResetState(*(torch.full((n, size), float(k), device=DEVICE) for size in (3, 4, 3, 3, 3, 3)))
            before = two.root_pos.clone()
            engine.reset(mask, {1: new})
            wrong += (two.root_pos != torch.where(mask.unsqueeze(-1), new.root_pos, before)).sum()
            engine.place(0, ~mask, new)
            wrong += (one.root_pos[~mask] != k).sum()
            engine.set_body_force(0, expected, obj=1)
            engine.step()
            wrong += (two.contact_forces[:, 0] != expected).sum()
    assert int(wrong) == 0
    assert addresses == [tensor.data_ptr() for tensor in vars(one).values()]
    saved = engine.state_dict()
    assert not saved["dof_pos"].is_cuda
    engine.load_state_dict({name: tensor + 1 for name, tensor in saved.items()})
    assert torch.equal(one.dof_pos.cpu(), saved["dof_pos"] + 1)


def test_values_cross_through_gpu_memory() -> None:
    engine = make(device=DEVICE, num_envs=4096)
    check_round_trips(engine)
    times = []
    for _ in range(500):
        start = time.perf_counter()
        engine.exchange()
        times.append(time.perf_counter() - start)
    print(f"\nexchange: {1e6 * statistics.median(times):.0f} us")
    times = []
    command = torch.zeros(4096, 3, device=DEVICE)
    for _ in range(500):
        start = time.perf_counter()
        engine.set_command(command)
        engine.step()
        times.append(time.perf_counter() - start)
    print(f"set_command + step of two small objects: {1e6 * statistics.median(times):.0f} us")
    kept = engine.states[0].dof_pos
    engine.close()
    assert torch.isfinite(kept).all()  # the memory is the host's, and lives as long as a tensor on it


@pytest.mark.skipif("MIMICKIT_TEST_PYTHON38" not in os.environ, reason="MIMICKIT_TEST_PYTHON38 names no other Python")
def test_values_cross_to_another_python() -> None:
    engine = make(device=DEVICE, num_envs=4096, python=os.environ["MIMICKIT_TEST_PYTHON38"])
    check_round_trips(engine)
    engine.close()


@pytest.mark.skipif(bool(engine_requirements("newton")), reason="newton is not installed")
def test_hosted_newton_equals_newton() -> None:
    def build(python: str) -> Any:
        config = SimpleNamespace(
            engine_name="newton", control_mode="pos", control_freq=30, sim_freq=240, env_spacing=5.0, iterations=100,
            ls_iterations=50, impratio=10.0, njmax=0, nconmax=0, python=python,
        )  # fmt: skip
        scene = SceneSpec((ObjectSpec("humanoid", str(HUMANOID), start_pos=(0.0, 0.0, 0.9)),))
        return make_engine(config, scene, 1024, DEVICE)

    engines = [build("in-process"), build(sys.executable)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        command = (0.3 * torch.randn(1024, 28, generator=generator)).to(DEVICE)
        for engine in engines:
            engine.set_command(command)
            engine.step()
    inside, hosted = (engine.states[0] for engine in engines)
    for name in ("body_pos", "dof_pos"):  # contacts add up in any order on a GPU, so a few environments part
        close = torch.isclose(getattr(hosted, name), getattr(inside, name), atol=1e-3, rtol=1e-3)
        assert close.float().mean() > 0.97, name
    times: dict[str, list[float]] = {"in-process": [], "hosted": []}
    for _ in range(5):
        for label, engine in zip(times, engines, strict=True):
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(50):
                engine.set_command(command)
                engine.step()
            torch.cuda.synchronize()
            times[label].append((time.perf_counter() - start) / 50)
    print("\nms a control step:", {label: round(1e3 * statistics.median(values), 3) for label, values in times.items()})
    for engine in engines:
        engine.close()
