"""What the agents room says when a user has to put something right."""

from __future__ import annotations

from mimickit_hydra.config.errors import UserError


class AgentError(UserError):
    """A learning method, network, optimiser or checkpoint that cannot be used as asked. One line."""
