"""The same load by other tools, each in its own way of saying it."""
