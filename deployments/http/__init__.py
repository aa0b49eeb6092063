"""HTTP, and nothing else: what clients send to values, values to what clients read. Knows no torch and no Ray."""
