"""`blame`: which migration brought a table or a column, and what changed it since."""
