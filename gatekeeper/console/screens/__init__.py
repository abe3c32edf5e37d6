"""One module per screen. A screen reads the feed and asks the app; it never talks to the operator itself."""
