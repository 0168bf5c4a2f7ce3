"""Who does the work. A provider is a module `executor/providers/<kind>/<name>.py`; no list names it."""
