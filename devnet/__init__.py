"""The local payment network: an EVM chain with a dollar token, and an x402 facilitator."""
