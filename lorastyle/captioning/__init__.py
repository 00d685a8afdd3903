"""Captions for pictures that have none."""
