"""The audit: looks for what is past its retention or was deleted too early, and reports it.

It deletes nothing, and it imports no other module of this package.
"""
