"""Networks, normalisers, buffers, and one module per learning method."""
