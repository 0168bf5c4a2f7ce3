"""The executor service: runs the work that was paid for (api.md, Executor)."""
