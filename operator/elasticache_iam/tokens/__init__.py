"""The token plane: schedule -> credentials -> sign -> write Secret -> verify -> schedule, on a loop of its own."""
