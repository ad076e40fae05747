"""The control plane: observe, plan, apply, status; one pass per resource, level-based."""
