"""The shopfront: FlashVideo behind HTTP, on Ray Serve."""
