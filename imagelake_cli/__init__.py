"""The command line: `imagelake`."""
