"""`rehearse`: what is pending, tried on copies: forward, back and forward again."""
