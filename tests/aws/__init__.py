"""What only a deployment can settle: `make aws STACK=image-lake`, with credentials of the stack's account."""
