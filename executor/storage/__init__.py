"""The embedded store: content by its CID, and who keeps it until when."""
