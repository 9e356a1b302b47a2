"""Raw text: where it comes from and how its records are read."""
