"""`maintain`: optimise tables, find and mend orphan rows, archive old rows."""
