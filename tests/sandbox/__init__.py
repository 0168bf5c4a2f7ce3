"""Named attacks on the sandbox: what strangers would try, and that none of it works."""
