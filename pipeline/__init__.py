"""Seekmake: raw Dolma text in, a trained, evaluated and exported DeepSeek-V3-style checkpoint out."""
