"""The tracking env (BeyondMimic, Liao et al. 2025): follow clips with the whole body, robot or character."""
