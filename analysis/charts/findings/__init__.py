"""Findings, marked on the pictures that they are about."""
