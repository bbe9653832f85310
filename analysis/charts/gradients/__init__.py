"""Gradient charts."""
