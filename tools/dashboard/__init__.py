"""The analysts' dashboard, of `analytics/dashboard/dashboard.yaml`: for QuickSight, and drawn on this machine.

Reading order: `definition`, `answers`, `quicksight` (the stack), `charts` (the drawings), `sample_week` (rows to look
at), `__main__` (`make dashboard`).
"""
