"""The executor: does the paid work (runs code in a sandbox)."""
