"""The pages of the studio; each module has `page(workspace)`, which builds its components and events."""
