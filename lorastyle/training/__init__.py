"""Training: from a base, a dataset and a recipe to an adapter."""
