"""What the engine's graph is made of: each node takes batches of items and sends on what it makes of them."""
