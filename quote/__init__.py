"""The quote service: asks every provider for a price and ranks the answers."""
