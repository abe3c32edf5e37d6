"""Who may log in, as what and for how long: tokens, keys, claims, grants and runs."""
