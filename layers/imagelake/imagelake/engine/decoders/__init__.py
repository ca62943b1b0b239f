"""Decoders: from the bytes of an image to the pixels that scripts get, upright and in a size for display.

Whether an image may be decoded at all is decided by `guard`.
"""
