"""What the cases of conformance/run work with."""
