"""Tools: what can be made of any feed's items, one file each."""
