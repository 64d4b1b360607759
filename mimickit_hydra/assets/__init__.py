"""Fetches and derives characters that do not come with the package."""
