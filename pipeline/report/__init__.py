"""Figures, tables and the scaling law over the finished stages."""
