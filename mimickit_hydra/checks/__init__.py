"""Checks of a composed config, made before a simulator starts."""
