"""Clips, the motion library, the character model and its kinematics."""
