"""Benchmarks: how fast lorastyle is, and beside what."""
