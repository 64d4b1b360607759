"""Goals on top of imitation: each is a part of an env that also gives a reward."""
