"""The rules that an order must pass: the built-in ones, and the user's own."""
