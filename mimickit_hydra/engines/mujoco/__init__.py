"""The engine for MuJoCo's C library."""
