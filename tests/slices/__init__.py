"""Features that a folder of the code shows whole, each from its command down, on all engines."""
