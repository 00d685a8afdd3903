"""The adapters that a person keeps: cards, notes, the bin, bundles."""
