"""What is masked, in which outputs, and how: the plan, the maskers, COPY streams and error texts."""
