"""The operator as a process: configuration, the kopf edge, three loops in three threads, leadership, health."""
