"""What parts of an image's way cost, in dollars: list prices of us-east-1, November 2026.

AWS bills by the month and with free allowances, so the graphs are an estimate: of what grows with the images, without
what a stack costs that has none (`docs/aws.md`), storage, and queries.
"""

from typing import Final

FUNCTION_GB_SECOND: Final = 0.0000133334
"""arm64: https://aws.amazon.com/lambda/pricing/."""
API_REQUEST: Final = 0.0000035
"""REST: https://aws.amazon.com/api-gateway/pricing/."""
WORKFLOW_RUN: Final = 0.00000129
"""Express, with its time: https://aws.amazon.com/step-functions/pricing/."""
IMAGE_REQUESTS: Final = 0.0000192
"""Requests to S3 and the table, calls of functions, and the item of an image: `python -m benchmarks.corridor_cost`."""
