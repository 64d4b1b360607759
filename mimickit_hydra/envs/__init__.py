"""Environments: observations, rewards and terminations as pure functions, and the classes that join them into envs."""
