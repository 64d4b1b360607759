"""Run directories: their state, lock and saved config, and how runs are found."""
