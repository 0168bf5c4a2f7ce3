"""Work that somebody else does and is paid for."""
