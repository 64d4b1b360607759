"""Starting runs that outlive the shell: side by side in the background, in tmux, as Slurm jobs. No torch in here."""

from mimickit_hydra.launch.submit import LaunchError, Submitted, submit

__all__ = ["LaunchError", "Submitted", "submit"]
