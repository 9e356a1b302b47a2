"""The settings of the workflow and of its stages: strict, frozen, torch-free."""
