"""The domain of Image Lake, shared by all functions."""
