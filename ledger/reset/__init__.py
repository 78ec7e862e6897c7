"""`reset`: back to a version by undoing or by the records alone, or to nothing by dropping what was created."""
