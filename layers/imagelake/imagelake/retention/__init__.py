"""Retention: the purge of what is past its days, erasure on request, and the receipts of both.

What deletes belongs here. Whether everything was deleted is checked by `audit`, which shares nothing with this room.
"""
