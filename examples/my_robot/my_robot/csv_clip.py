"""An importer: a table of poses as text, one row a frame, with `# fps 30` above it."""

from pathlib import Path

import numpy as np

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.clip import MotionClip, clip_from_fields


def read_csv(path: Path) -> MotionClip:
    """A UserError is shown as one line; ``clip_from_fields`` says what else may be wrong."""
    try:
        first, *rows = path.read_text().splitlines()
        fps = float(first.removeprefix("# fps"))
        frames = np.array([[float(word) for word in row.split(",")] for row in rows])
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a table of poses ({error})") from None
    return clip_from_fields({"frames": frames, "fps": fps, "loop_mode": 0}, path)
