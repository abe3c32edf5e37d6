"""Rules: one TOML file, typed and frozen once it is read."""
