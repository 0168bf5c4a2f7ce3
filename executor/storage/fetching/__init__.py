"""What fetching a stranger's URL needs to be safe: each rule of providers.md in a module of its own."""
