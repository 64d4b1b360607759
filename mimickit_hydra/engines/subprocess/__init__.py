"""Engines hosted in another Python interpreter."""
