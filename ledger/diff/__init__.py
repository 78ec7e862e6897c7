"""`diff`: what changed over the fleet between two times."""
