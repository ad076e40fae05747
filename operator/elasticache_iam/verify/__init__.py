"""Walks the chain of an access and names the broken link. To come: today only the login itself is tried (cache/)."""
