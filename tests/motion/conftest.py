"""Fixtures of the motion tests."""

from __future__ import annotations

import numpy as np
import pytest
from golden_motion import golden_character, load_golden

from mimickit_hydra.motion.character import CharacterModel


@pytest.fixture(scope="session")
def kinematics() -> dict[str, np.ndarray]:
    return load_golden("kinematics_humanoid")


@pytest.fixture(scope="session")
def humanoid(kinematics: dict[str, np.ndarray]) -> CharacterModel:
    return golden_character(kinematics)
