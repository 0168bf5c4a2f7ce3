"""The data plane of caches: who may use one, and how the two protocols are read and answered."""
