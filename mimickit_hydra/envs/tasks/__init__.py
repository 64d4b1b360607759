"""Tasks: goals on top of the imitation, each a part of an env that also gives a reward."""
