"""The figures of a stage's report, one a module."""
