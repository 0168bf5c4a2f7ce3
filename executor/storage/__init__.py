"""The embedded store: content by its CID, who keeps it and until when, and fetching it from a URL."""
