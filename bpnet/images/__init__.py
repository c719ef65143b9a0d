"""Where in a picture, learned from pictures with class names alone: class activation maps."""
