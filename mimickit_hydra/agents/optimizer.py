"""The optimiser of one head, over one flat vector: one kernel and one collective a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.flat_optimizers import SGD, AdamW
from mimickit_hydra.agents.schema import OptimizerConfig
from mimickit_hydra.distributed import Comm
from mimickit_hydra.errors import UserError

SGD_MOMENTUM = 0.9
DESYNC_CHECK_STEPS = 1000


class HeadOptimizer:
    """Steps the trainable parameters of one head on gradients averaged over processes.

    The parameters become views of one flat vector, and so do their gradients: zeroing, averaging, clipping and the
    step itself are one kernel each however many layers there are. Parameters must be on their device already, and
    must not be moved afterwards.
    """

    def __init__(self, name: str, parameters: Iterable[nn.Parameter], config: OptimizerConfig, comm: Comm) -> None:
        self.name = name
        self.comm = comm
        self.grad_clip = float(config.grad_clip)
        self.steps = 0
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._flat = self._flatten()
        self._optimizer = self._make(config)
        self.sync()

    @property
    def flat_grad(self) -> Tensor:
        assert self._flat.grad is not None
        return self._flat.grad

    def _flatten(self) -> nn.Parameter:
        flat = nn.Parameter(torch.cat([parameter.detach().reshape(-1) for parameter in self._parameters]))
        flat.grad = torch.zeros_like(flat)
        start = 0
        for parameter in self._parameters:
            end = start + parameter.numel()
            parameter.data = flat.data[start:end].view_as(parameter)
            parameter.grad = flat.grad[start:end].view_as(parameter)
            start = end
        return flat

    def _make(self, config: OptimizerConfig) -> SGD | AdamW:
        rate, decay = float(config.learning_rate), float(config.weight_decay)
        if config.type == "SGD":
            return SGD(self._flat, rate, decay, SGD_MOMENTUM)
        return AdamW(self._flat, rate, decay)  # decoupled weight decay: Loshchilov & Hutter 2019

    def step(self, loss: Tensor) -> None:
        """Differentiate ``loss``, average the gradient over processes, clip its norm, and take a step."""
        self.count()
        self.apply(loss)

    def count(self) -> None:
        """The part of a step that runs on the host; now and then it checks that all processes agree."""
        if self.comm.world_size > 1 and self.steps % DESYNC_CHECK_STEPS == 0:
            self.check_sync()
        self.steps += 1

    def apply(self, loss: Tensor) -> None:
        """The part of a step that runs on the device and fits a graph, except for :meth:`average_grad`."""
        self.flat_grad.zero_()
        loss.backward()
        self.average_grad()
        if self.grad_clip > 0.0:
            nn.utils.clip_grad_norm_([self._flat], self.grad_clip)
        self._optimizer.step()

    def average_grad(self) -> None:
        """Average the gradient over processes, in one collective on one vector."""
        self.comm.all_reduce_mean_(self.flat_grad)

    def sync(self) -> None:
        """Give every process rank 0's parameters, in one collective."""
        self.comm.broadcast_(self._flat.data)

    def check_sync(self) -> None:
        """Raise on every process if any has parameters that are not bit for bit those of rank 0."""
        mine = self._flat.data.view(torch.int32)
        reference = self.comm.broadcast_(mine.clone())
        same = (mine == reference).all().to(torch.int32)
        if int(self.comm.all_reduce_min_(same)) == 0:
            raise UserError(
                f"the {self.name}'s parameters differ between processes at its update {self.steps}; "
                "a process has left the common path (different seeds are fine, different code or weights are not)"
            )

    def state_dict(self) -> dict[str, Any]:
        """Step counter and moments, flat over the parameters in the order of the head."""
        return {
            "type": type(self._optimizer).__name__,
            "steps": self.steps,
            "moments": {key: value.clone() for key, value in self._optimizer.moments.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; learning rate, decay and clip stay those of the config."""
        kind = type(self._optimizer).__name__
        if state["type"] != kind:
            raise UserError(
                f"the checkpoint's {self.name} optimiser is {state['type']}, the config asks for {kind}; resume with "
                "the same type, or start anew from its weights with model_file="
            )
        for key, value in state["moments"].items():
            if value.dim() and value.shape != self._flat.shape:
                raise UserError(
                    f"the checkpoint's {self.name} optimiser has {value.numel()} numbers in {key}, "
                    f"this network has {self._flat.numel()} parameters"
                )
        self.steps = int(state["steps"])
        for key, value in self._optimizer.moments.items():  # in place: a graph may hold them
            value.copy_(state["moments"][key]) if key in state["moments"] else value.zero_()
