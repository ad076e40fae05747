"""The login probe: alone in talking Redis on the operator's side."""
