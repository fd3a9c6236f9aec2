"""Reports: plain rows, and their renderings as tables, JSON, CSV and Markdown."""
