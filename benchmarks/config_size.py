"""How many values and lines ``conf/`` states, against the 2,164 lines of YAML in MimicKit's configurations.

A value is a leaf of a YAML file (a list counts once); the choices in a defaults list are counted apart.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

MIMICKIT_LINES = 2164
# what MimicKit's engine, env and agent files hold; compute, logger, launch and the like have no counterpart there
GROUPS = ("engine", "character", "motion", "method", "env", "agent", "experiment")
LEFT_OUT = ("engine/mujoco.yaml", "experiment/walk_30min.yaml")  # ours alone


def leaves(node: Any) -> int:
    return sum(map(leaves, node.values())) if isinstance(node, dict) else 1


def main() -> None:
    conf = Path(__file__).resolve().parent.parent / "conf"
    values: Counter[str] = Counter()
    choices: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for group in GROUPS:
        for path in sorted((conf / group).rglob("*.yaml")):
            if path.relative_to(conf).as_posix().startswith(LEFT_OUT):
                continue
            text = path.read_text(encoding="utf-8")
            content = yaml.safe_load(text) or {}
            choices[group] += len(content.pop("defaults", []))
            values[group] += leaves(content)
            lines[group] += sum(1 for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    print(f"{'group':<12}{'values':>8}{'choices':>9}{'lines':>7}")
    for group in GROUPS:
        print(f"{group:<12}{values[group]:>8}{choices[group]:>9}{lines[group]:>7}")
    total = f"{sum(values.values()):>8}{sum(choices.values()):>9}{sum(lines.values()):>7}"
    print(f"{'all':<12}{total}   MimicKit: {MIMICKIT_LINES} lines")


if __name__ == "__main__":
    main()
