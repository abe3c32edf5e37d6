"""What the gateway costs: PostgreSQL directly, through pgbouncer and through Gatekeeper, in one run."""
