"""A folder that transformers loads, and text generated from it."""
