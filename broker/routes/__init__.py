"""HTTP of the broker: parse, call one thing, answer."""
