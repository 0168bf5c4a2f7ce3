"""Getting paid: price, challenge, ledger and settlement. Read `gate.py` first; it is the flow."""
