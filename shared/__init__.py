"""What all services share: money, settings, errors, wire models. Imports no service."""

__version__ = "0.1.0"
