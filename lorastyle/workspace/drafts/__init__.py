"""Datasets being prepared: taking in what people drop, looking at it, captions, crops, undo."""
