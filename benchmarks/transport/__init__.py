"""What a request costs the client that sends it, measured beside peers."""
