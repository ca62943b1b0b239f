"""The two dashboards of operators in CloudWatch, from the registry of metrics: `python -m tools.cloudwatch [--check]`.

`flow` says whether images flow, `promise` whether the retention is kept. What they show is written here, what it means
is in `docs/operations.md`. Reading order: `panels` (what a dashboard is made of), `templates` (limits, as the stacks
have them), `prices`, `functions`, `flow`, `promise`, `body` (CloudWatch's JSON), `structure` (what CloudWatch takes),
`__main__`.

The analysts' dashboard in QuickSight is `tools.dashboard`.
"""
