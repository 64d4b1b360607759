"""Golden arrays, and the humanoid built from them so that these tests need no asset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mimickit_hydra.motion.character import CharacterModel

torch.set_num_threads(1)

GOLDEN = Path(__file__).parents[1] / "golden"


def load_golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as archive:
        return {key: archive[key] for key in archive.files}


def golden_character(golden: dict[str, np.ndarray]) -> CharacterModel:
    return CharacterModel(
        name=str(golden["char/name"]),
        body_names=golden["char/body_names"].tolist(),
        parents=golden["char/parent"].tolist(),
        local_pos=golden["char/local_pos"],
        local_rot=golden["char/local_rot"],
        joint_types=golden["char/joint_type"].tolist(),
        joint_axes=golden["char/joint_axis"],
        dof_low=golden["char/dof_low"],
        dof_high=golden["char/dof_high"],
    )
