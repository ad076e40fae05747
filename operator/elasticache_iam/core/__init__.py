"""Pure values and decisions: no I/O, no clock, no logging. This file and `token` need only the standard library."""
