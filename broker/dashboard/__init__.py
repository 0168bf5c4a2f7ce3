"""The operator's page: what this host sells, earns and owes, live."""
