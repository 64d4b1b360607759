"""Learning methods, one module each, with their networks, normalisers, buffers and optimisers."""
