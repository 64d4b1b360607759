"""Typed schemas, composition, validation and where a value came from. Never imports torch or a simulator."""
