"""MimicKit's own numbers of the tasks, random draws included."""

import pytest
import torch
from env_test_tools import Golden
from golden_driver import EXACT, check_reset, check_step, close, num_steps, reset, step

from mimickit_hydra.envs.tasks.dodgeball import Dodgeball
from mimickit_hydra.envs.tasks.location import Location
from mimickit_hydra.envs.tasks.task import Task

FILES = {name: Golden(name) for name in ("env_location", "env_steering", "env_dodgeball")}
CASES = [(file, case) for file, golden in FILES.items() for case in golden.cases]


@pytest.fixture(params=CASES, ids=[case for _, case in CASES])
def driven(request):
    file, case = request.param
    golden = FILES[file]
    env, engine = golden.env(case)
    (task,) = (part for part in env.parts if isinstance(part, Task))
    _give_reset_draws(golden, case, task)
    reset(golden, case, env)
    return golden, case, env, engine, task


def _draws(golden, case, prefix):
    names = [name for name in golden.data if name.startswith(f"{case}/{prefix}/draws/")]
    order = sorted(names, key=lambda name: int(name.rsplit("/", 1)[1].split("_")[0]))
    return [torch.as_tensor(golden.data[name]) for name in order]


def _columns(golden, case, draws):
    """Our columns of the stored draws: a direction that is not random is not drawn by MimicKit."""
    if golden is not FILES["env_steering"]:
        return torch.stack(draws, -1)
    config = golden.raw_config(case)
    zero = torch.zeros_like(draws[0])
    direction = draws.pop(0) if config["rand_tar_dir"] else zero
    facing = draws.pop(0) if config["rand_face_dir"] else zero
    return torch.stack([direction, facing, *draws], -1)


def _give_reset_draws(golden, case, task):
    draws = _draws(golden, case, "reset")
    if isinstance(task, Dodgeball):
        task.draw_triggers = lambda: draws[0]
    else:
        task.draw = lambda: _columns(golden, case, draws)


def _give_step_draws(golden, case, task, env, number):
    """MimicKit draws for the environments that redraw alone, in their order; ours takes a number for each."""
    draws = _draws(golden, case, f"step{number}")
    due = env.time + env.control_dt  # the draw happens after the step
    if isinstance(task, Dodgeball):
        _give_throws(task, due, draws)
        return
    rows = (due >= task.change_time - 1e-6).nonzero().squeeze(-1)
    if draws:
        assert len(rows) == len(draws[0])
        columns = _columns(golden, case, draws)
        task.draw = lambda: torch.zeros(env.num_envs, columns.shape[1]).index_copy(0, rows, columns)


def _give_throws(task, due, draws):
    """Ball by ball, six draws for those that throw it."""
    envs, balls = task.trigger_time.shape
    aim, uniform, trigger = torch.zeros(envs, balls, 3), torch.zeros(envs, balls, 4), torch.zeros(envs, balls)
    for ball in range(balls):
        rows = (due >= task.trigger_time[:, ball] - 1e-6).nonzero().squeeze(-1)
        if len(rows) == 0:
            continue
        normal, speed, height, distance, angle, again = (draws.pop(0) for _ in range(6))
        aim[rows, ball] = normal
        uniform[rows, ball] = torch.stack([speed, height, distance, angle], -1)
        trigger[rows, ball] = again.reshape(-1)
    assert not draws
    task.draw_throws, task.draw_triggers = lambda: (aim, uniform), lambda: trigger


def _check_task(golden, case, engine, task, prefix, index=()):
    get = lambda name: golden.case(case, f"{prefix}/{name}")[index]  # noqa: E731
    for name, value in _values(engine, task).items():
        if golden.has(case, f"{prefix}/{name}"):
            close(value, get(name), 1e-4 if prefix == "reset/out" else EXACT, name)


def _values(engine, task):
    if isinstance(task, Dodgeball):
        return {
            "trigger_time": task.trigger_time, "ball_prev_vel": task.prev_vel,
            "ball_pos": task._positions(), "ball_vel": task._velocities(),
        }  # fmt: skip
    values = {"target_change_time": task.change_time, "prev_root_pos": task.prev_root_pos}
    if isinstance(task, Location):
        return {**values, "target_pos": torch.nn.functional.pad(task.target, (0, 1))}
    goal = task.goal
    return {**values, "target_dir": goal[:, :2], "face_dir": goal[:, 2:4], "target_speed": goal[:, 4]}


def _write_init(golden, case, task):
    get = lambda name: golden.case(case, f"init/{name}")  # noqa: E731
    if isinstance(task, Dodgeball):
        task.trigger_time.copy_(get("trigger_time"))
        return
    task.change_time.copy_(get("target_change_time"))
    if isinstance(task, Location):
        task.target.copy_(get("target_pos")[:, :2])
    else:
        goal = [get("target_dir"), get("face_dir"), get("target_speed").unsqueeze(-1)]
        task.goal.copy_(torch.cat(goal, -1))


def test_reset(driven):
    golden, case, env, engine, task = driven
    check_reset(golden, case, env, engine)
    _check_task(golden, case, engine, task, "reset/out")


def test_steps(driven):
    golden, case, env, engine, task = driven
    _write_init(golden, case, task)
    env.fast_forward(golden.case(case, "init_timestep"))
    for number in range(num_steps(golden, case)):
        _give_step_draws(golden, case, task, env, number)
        step(golden, case, env, engine, number)
        check_step(golden, case, env, engine, number)
        _check_task(golden, case, engine, task, "out", number)
