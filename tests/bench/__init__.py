"""The benches run: tiny sizes, no figure is judged."""
