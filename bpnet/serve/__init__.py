"""The HTTP service: uploaded videos and feature stores, asked over the network."""
