"""Models, and what their outputs are judged by."""
