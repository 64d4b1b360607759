"""Learning through a learned, differentiable model of the dynamics (SuperMimic: Liao et al. 2026)."""
