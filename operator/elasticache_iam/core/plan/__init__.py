"""From what is asked and what is there to the actions that close the gap: pure, level-based."""
