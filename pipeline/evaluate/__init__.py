"""How good a model is: losses, perplexities, bits per byte, expert load."""
