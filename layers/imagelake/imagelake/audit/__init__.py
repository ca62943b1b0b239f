"""The audit: looks for what is past its retention, was deleted too early, or is not kept as it should be.

It deletes nothing, and it imports no other module of this package. In this order: `findings`, `clients`, `layout`, then
`configuration`, `evidence` and `rows`, then `auditor`, `report`.
"""
