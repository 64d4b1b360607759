"""Everything about MimicKit: its argument files, its checkouts, its weights."""
