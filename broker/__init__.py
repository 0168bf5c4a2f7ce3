"""The broker: the public door. Prices requests, enforces x402 payments, keeps the ledger."""
