"""The `galaksio` command."""
