"""DeepSeek-V3 in plain torch, one noun a file, no parallelism inside."""
