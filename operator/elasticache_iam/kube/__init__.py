"""The API server: the planes' ports on top of the official client's generic calls. Alone in importing kubernetes."""
