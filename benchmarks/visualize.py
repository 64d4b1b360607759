"""What ``visualize=true`` costs a training, with nobody looking and with one window, in pairs on this machine.

    python benchmarks/visualize.py [--pairs 16] [--seconds 2] [--out FILE.json] [OVERRIDE ...]

A training goes on in turns without a viewer and with one; a pair is two turns, whose order changes. The window is a
client in another process that takes what a browser takes and draws nothing: what a browser costs, depends on where it
is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

CAMERA = {
    "type": "ViewerCameraMessage", "wxyz": (1.0, 0.0, 0.0, 0.0), "position": (3.0, 3.0, 2.0), "fov": 0.6, "near": 0.1,
    "far": 100.0, "image_height": 600, "image_width": 800, "look_at": (0.0, 0.0, 0.9), "up_direction": (0.0, 0.0, 1.0),
}  # fmt: skip


async def window(url: str) -> None:
    """Take everything that the server sends, for ever; say when the first of it has come."""
    import msgspec
    import viser
    import websockets

    protocol = websockets.Subprotocol(f"viser-v{viser.__version__}")
    address = url.replace("http", "ws", 1)
    async with websockets.connect(address, subprotocols=[protocol], max_size=None, compression=None) as socket:
        await socket.send(msgspec.msgpack.encode(CAMERA))
        taken = 0
        while True:
            await socket.recv()
            taken += 1
            if taken == 1:
                print("open", flush=True)


def rate(agent: Any, seconds: float) -> float:
    """Samples a second of ``agent`` over so much time, whole iterations."""
    began, before = time.monotonic(), agent.samples
    while time.monotonic() - began < seconds:
        agent.train_iteration()
    return float((agent.samples - before) / (time.monotonic() - began))


@contextmanager
def watched(env: Any, show: Any, run: Callable[[threading.Event], None]) -> Iterator[None]:
    """Context in which ``show`` is told of steps and ``run`` draws it in a thread."""
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(stop,), daemon=True)
    env.on_step = show.look
    thread.start()
    try:
        yield
    finally:
        env.on_step = None
        stop.set()
        thread.join()


def measure(name: str, parts: Any, args: Any, show: Any, run: Callable[[threading.Event], None]) -> dict[str, Any]:
    """Pairs of turns, without and with; prints and returns what the second cost."""
    ratios = []
    for pair in range(args.pairs):
        rates = {}
        for state in (False, True) if pair % 2 else (True, False):
            with watched(parts.env, show, run) if state else nullcontext():
                rates[state] = rate(parts.agent, args.seconds)
        ratios.append(rates[True] / rates[False])
    low, middle, high = (1.0 - float(np.quantile(ratios, share)) for share in (0.75, 0.5, 0.25))
    print(
        f"{name:14} costs {middle:6.1%} (half of the pairs from {low:.1%} to {high:.1%}), {show.copied:,} steps copied"
    )
    return {"cost": middle, "ratios": ratios, "copied": show.copied}


def copying(show: Any) -> Callable[[threading.Event], None]:
    """Take what is copied as a viewer would, and draw nothing."""

    def run(stop: threading.Event) -> None:
        while not stop.wait(1.0 / 30.0):
            show.advance(1.0 / 30.0)
            show.frame()

    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn")
    parser.add_argument("--copy-only", action="store_true", help="copy and draw nothing, where viser is missing")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--window", metavar="URL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.window:
        asyncio.run(window(args.window))
    from mimickit_hydra import api
    from mimickit_hydra.view.browser.server import Server
    from mimickit_hydra.view.browser.viewer import Viewer
    from mimickit_hydra.view.browser.watch import RunShow

    results = {}
    with api.build(api.compose(args.overrides)) as parts:
        rate(parts.agent, 2.0 * args.seconds)
        show = RunShow(parts.env, parts.scene, lambda: "benchmark")
        if args.copy_only:
            results["copying"] = measure("copying", parts, args, show, copying(show))
        else:
            with Server(port=18900) as server:
                viewer = Viewer(show, server)
                results["nobody looks"] = measure("nobody looks", parts, args, show, viewer.run)
                command = [sys.executable, __file__, "--window", server.url]
                with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
                    assert client.stdout is not None
                    client.stdout.readline()
                    before = viewer.pictures
                    results["one window"] = measure("one window", parts, args, show, viewer.run)
                    drawn = (viewer.pictures - before) / (args.pairs * args.seconds)
                    print(f"{drawn:.0f} pictures a second")
                    client.terminate()
    if args.out:
        args.out.write_text(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
