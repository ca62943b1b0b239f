"""Dashboards of CloudWatch, drawn here: for commands that show one. Nothing in here knows what is on them.

Reading order: `widgets` (a dashboard as CloudWatch keeps it), `monitor` (its numbers and alarms), `picture` (PNG and
HTML), `terminal`.
"""
