"""The resources' and the configuration's shapes: frozen pydantic models, the one source of the CRDs."""
