"""Waiting for what others do: processes, servers, the operator."""

import time

PATIENCE_S = 60.0
"""What takes a second alone takes ten on a busy machine."""
POLL_S = 0.03


def wait_for(look, *, what="it", timeout_s=PATIENCE_S, poll_s=POLL_S):
    """Return the first answer that isn't empty; an assertion in `look` means: not yet, for this reason."""
    deadline = time.monotonic() + timeout_s
    while True:
        reason = ""
        try:
            found = look()
        except AssertionError as error:
            found, reason = None, str(error)
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:.0f} s for {what}. {reason}")
        time.sleep(poll_s)
