"""Reading SQL as PostgreSQL will: facts, lineage, and the catalog that names resolve in."""
