"""Extractors, a module a backbone: frames of a video -> clip features.

`choose.load_backbone` is the way in. PyTorch is imported by the modules of the networks only, and
only when one of them is asked for.
"""
