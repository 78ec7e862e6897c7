"""What the two source documents promise, on both engines."""
