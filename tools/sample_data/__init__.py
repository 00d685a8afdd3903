"""Builds `sample_data/`: a drawing style and a character to train on, and drawings to measure the style with."""
