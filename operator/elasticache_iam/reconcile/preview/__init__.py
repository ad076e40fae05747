"""What passes would do: the very same code, on ports that read the real world and only note what would be written."""
