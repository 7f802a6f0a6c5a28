"""The pool: lends connections, takes them back, keeps them in shape."""
