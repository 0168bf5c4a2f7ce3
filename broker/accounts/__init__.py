"""Who is asking: sign-in by wallet (EIP-4361), the operator's token, and what each may see of payments."""
