"""The confined process: how it is started, what it may do, and how it ends.

What an image or a script is does not belong here.
"""
