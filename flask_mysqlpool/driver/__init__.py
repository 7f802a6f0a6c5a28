"""PyMySQL's connection, made to know its state; nobody else uses its internals."""
