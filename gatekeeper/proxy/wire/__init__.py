"""PostgreSQL's wire protocol, without I/O: bytes in, values out, and back. PostgreSQL 18, chapter 54."""
