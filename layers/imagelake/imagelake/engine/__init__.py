"""The engine: bytes of an image and scripts in, columns and derivatives out; `runner` is its door.

What checks, decodes and processes an image in a confined process belongs here. AWS, keys and settings do not.
"""
