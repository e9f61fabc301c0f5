"""How fast the local endpoint is, and how well it keeps to the times that it states."""
