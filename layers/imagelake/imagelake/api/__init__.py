"""The HTTP API: forms for uploads, what callers see of their images, and problem documents.

What decides over a request or its answer belongs here. Routing is in `functions/http_api`.
"""
