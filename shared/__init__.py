"""What all services share: money, settings, errors, wire models. Imports no service."""
