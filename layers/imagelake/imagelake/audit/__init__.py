"""The audit: looks for what is past its retention or was deleted too early, and reports it.

It deletes nothing, and it imports no module of what it audits.
"""
