"""mimickit-hydra: motion imitation with every choice of an experiment as one word, composed by Hydra."""

__version__ = "0.1.0"
PLUGIN = "mimickit_hydra.builtin:register"  # what this package itself brings, registered as any other package's
