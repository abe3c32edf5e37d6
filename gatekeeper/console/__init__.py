"""The console: it draws snapshots and asks the operator interface; it holds no truth of its own."""
