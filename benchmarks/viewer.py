"""How soon the viewer's page shows its first picture, how smoothly it moves, and how soon ``mimickit demo`` is there.

    python benchmarks/viewer.py [--runs 5] [--seconds 8] [--width 800] [--height 500] [--out FILE.json]

Each run starts ``mimickit demo`` afresh (a policy on the CPU, its reference as a ghost), opens the page at the address
that it prints, closes it, and opens it once more. Needs Chromium and playwright, and draws by software: the processors
do a graphics card's work beside ours. What counts as a picture are the bodies of the character, drawn.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SOFTWARE = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist", "--no-sandbox"]
PATIENCE = 120.0  # s
COMPILED = 20  # pictures after which a browser that draws by software has compiled what it draws with
WANTED = {
    "demo_s": ("demo, from the command to the first picture", "s", "<=", 10.0),
    "page_s": ("page, from opening it to the first picture", "s", "<=", 3.0),
    "sent": ("moments a second that reach the page", "1/s", ">=", 30.0),
    "work_ms": ("work of the page on one picture, without the drawing", "ms", "<=", 1000.0 / 30.0),
    "drawn": ("pictures a second, drawn by software", "1/s", ">=", 30.0),
}
# Counts in the page, from before anything of it runs. A picture is a turn of the browser's animation loop in which
# instances were drawn, as bodies are; viser's messages come by a WebSocket in a worker, which posts them to the page in
# batches, one for a moment of the show.
COUNTING = """
(() => {
  const seen = window.seen = {first: 0, drawn: 0, sent: 0, work: 0};
  let instances = false;
  for (const name of ["drawElementsInstanced", "drawArraysInstanced"]) {
    const draw = WebGL2RenderingContext.prototype[name];
    WebGL2RenderingContext.prototype[name] = function (...args) { instances = true; return draw.apply(this, args); };
  }
  const request = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (callback) => request((now) => {
    instances = false;
    const began = performance.now();
    callback(now);
    if (!instances) return;
    seen.work += performance.now() - began;
    seen.drawn += 1;
    if (!seen.first) seen.first = performance.timeOrigin + performance.now();
  });
  const Plain = window.Worker;
  window.Worker = class extends Plain {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", () => { seen.sent += 1; });
    }
  };
})();
"""


@contextmanager
def demo(port: int) -> Iterator[str]:
    """``mimickit demo`` until the end of the ``with`` statement; gives its address."""
    command = [sys.executable, "-m", "mimickit_hydra", "demo", "--no-browser", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("viewer"):
                break
        else:
            raise SystemExit("".join(lines))
        try:
            yield lines[-1].split()[1]
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def opened(browser: Any, url: str, args: argparse.Namespace) -> tuple[Any, float, float]:
    """A page, when it was opened and when it had drawn the character first, s since 1970."""
    page = browser.new_page(viewport={"width": args.width, "height": args.height})
    page.add_init_script(COUNTING)
    began = time.time()
    page.goto(url, wait_until="commit")
    page.wait_for_function("window.seen && window.seen.first > 0", timeout=1000 * PATIENCE, polling=50)
    return page, began, page.evaluate("window.seen.first") / 1000.0


def rates(page: Any, seconds: float) -> dict[str, float]:
    """What came and was drawn, a second, and the page's work on a picture, once shaders are compiled."""
    page.wait_for_function(f"window.seen.drawn > {COMPILED}", timeout=1000 * PATIENCE, polling=100)
    counts = "({time: performance.now(), ...window.seen})"
    first = page.evaluate(counts)
    page.wait_for_timeout(1000.0 * seconds)
    last = page.evaluate(counts)
    passed = {name: last[name] - first[name] for name in first}
    each = {name: 1000.0 * passed[name] / passed["time"] for name in ("sent", "drawn")}
    return {**each, "work_ms": passed["work"] / max(passed["drawn"], 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="over which rates are counted")
    parser.add_argument("--width", type=int, default=800)
    parser.add_argument("--height", type=int, default=500)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("needs chromium")
    found: dict[str, list[float]] = {name: [] for name in WANTED}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=SOFTWARE)
        for _ in range(args.runs):
            began = time.time()
            with demo(18400) as url:
                page, _, first = opened(browser, url, args)
                found["demo_s"].append(first - began)
                page.close()
                page, asked, first = opened(browser, url, args)
                found["page_s"].append(first - asked)
                for name, value in rates(page, args.seconds).items():
                    found[name].append(value)
                page.close()
        browser.close()
    load = os.getloadavg()[0]
    print(
        f"median of {args.runs} runs; {os.cpu_count()} cores, load {load:.1f}; {args.width}x{args.height} by software"
    )
    for name, (text, unit, sign, wanted) in WANTED.items():
        values = found[name]
        spread = f"{min(values):.1f} to {max(values):.1f}; wanted {sign} {wanted:.0f}"
        print(f"{text:52} {statistics.median(values):6.1f} {unit:3} ({spread})")
    if args.out:
        args.out.write_text(json.dumps({**found, "load": load, "cores": os.cpu_count()}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
