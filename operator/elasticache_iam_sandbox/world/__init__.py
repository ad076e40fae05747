"""AWS as one model: no I/O, no clock of its own, no threads (callers serialise). Start reading in `world.world`."""
