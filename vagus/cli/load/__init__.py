"""`vagus load`: a load generator for decisions, open loop, spread over processes and nodes."""
