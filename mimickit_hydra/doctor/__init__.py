"""``mimickit doctor``: what this machine has, what is missing, and one real step of each engine."""
