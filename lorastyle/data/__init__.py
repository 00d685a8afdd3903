"""Captioned images, ready for a base: decoded, oriented, bucketed, cached; and what was refused, and why."""
