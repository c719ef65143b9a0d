"""Training without timestamps. Nothing of it is needed at inference: it trains an ordinary model."""
