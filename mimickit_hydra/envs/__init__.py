"""Pure functions for observations, rewards and terminations, and the small classes that join them."""
