"""Ablations: variants of a training, each with several seeds, trained and compared."""
