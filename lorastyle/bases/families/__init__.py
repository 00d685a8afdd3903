"""One file per model family; :func:`lorastyle.bases.family.families` finds them by scanning this folder.

A file holds everything that is particular to its family (detection, loading, targets, encoding, prediction, noise,
presets, a tiny random base for tests) in one object named `FAMILY`.
"""
