"""What becomes of a statement: the rules' decision, and people's."""
