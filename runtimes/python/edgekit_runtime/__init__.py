"""edgekit runtime."""
