"""The engine interface, and a package for each simulator. What an engine worker runs stays valid Python 3.8."""
