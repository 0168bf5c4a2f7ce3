"""Agents ask for work and pay for it by messages (A2A): the same gate, in other words."""
