"""Sources: where bytes come from, one file for each scheme."""
