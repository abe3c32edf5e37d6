"""The one seam for operators: console, commands and scripts all go through it."""
