"""Motion clips, the motion library, and the character model with its kinematics."""
