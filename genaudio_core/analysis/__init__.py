"""Studies of trained models: figures, tables, pictures."""
