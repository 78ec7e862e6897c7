"""`stats`: sizes, growth and slow steps, from what runs recorded."""
