"""``python -m mimickit_hydra`` is the command ``mimickit``."""

from mimickit_hydra.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
