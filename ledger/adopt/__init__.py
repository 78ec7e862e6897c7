"""`import`: taking over tenants from another migration tool."""
