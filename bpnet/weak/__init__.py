"""Training without timestamps: an ordinary model comes out, and needs none of this to answer."""
