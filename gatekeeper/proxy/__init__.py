"""The gateway itself: PostgreSQL's protocol on both sides, and the judgement between them."""
