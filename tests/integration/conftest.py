"""What Lambda sets before it imports a function."""

import os

os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "image-lake")
os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "ImageLake")
