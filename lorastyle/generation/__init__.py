"""Drawing pictures with a base and adapters, each row of a batch with its own."""
