"""Caches that are bought: one interface over Redis (or Valkey) and Memcached, counted by the operation."""
