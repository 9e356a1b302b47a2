"""From text to training rows: token blocks, the mixture, the packed shards, the loader."""
