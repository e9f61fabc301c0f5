"""How well a load generator keeps its schedule and its clock, measured beside peers."""
