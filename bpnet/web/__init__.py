"""What the page and the service have in common: where they listen, and whom they trust."""
