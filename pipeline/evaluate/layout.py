"""What a trained stage looks like on disk: the files that `train` writes and the steps after it read."""

WEIGHTS = "model.safetensors"
METRICS = "metrics.parquet"
"""One row a step."""
VALIDATION = "validation.parquet"
"""One row for each domain and validation."""
