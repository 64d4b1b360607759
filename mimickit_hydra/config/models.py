"""Trained policies by name: the options of the group ``model``, and the card that stands beside the weights of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimickit_hydra.config.defaults import read
from mimickit_hydra.config.groups import groups
from mimickit_hydra.config.paths import find_model
from mimickit_hydra.errors import UserError, must_be_one_of
from mimickit_hydra.foreign import read_json, sha256_of

MODEL, CARD = "model.pt", "card.json"


@dataclass(frozen=True)
class TrainedModel:
    """A policy that can be chosen as ``model=name``; ``folder`` holds its weights, config and card."""

    name: str
    help: str
    folder: Path

    @property
    def words(self) -> list[str]:
        """The overrides that test it."""
        return ["mode=test", f"model={self.name}"]


def models() -> list[TrainedModel]:
    """All of them, by name."""
    group = groups().get("model")
    return [
        TrainedModel(option.name, option.help, find_model(read(option.path).values.get("model_file", "")))
        for option in (group.options if group is not None else ())
    ]


def find(name: str) -> TrainedModel:
    """The model called ``name``; UserError with the nearest where there is none."""
    found = {model.name: model for model in models()}
    if name not in found:
        raise must_be_one_of("model", name, list(found))
    return found[name]


def read_card(folder: Path) -> dict[str, Any]:
    """The card beside the weights. UserError where it is damaged or the weights are not those that it speaks of."""
    card = read_json(folder / CARD)
    if not isinstance(card, dict) or not isinstance(card.get("metrics"), dict):
        raise UserError(f"{folder / CARD}: not the card of a model")
    if card.get("sha256") != sha256_of(folder / MODEL):
        raise UserError(f"{folder / MODEL}: not the file that {CARD} beside it describes")
    return card
