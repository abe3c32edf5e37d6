"""What happened, committed before it happens and chained so that no change goes unseen."""
