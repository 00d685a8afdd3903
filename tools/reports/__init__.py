"""Reports: what the bars of the project are measured with. Each prints one JSON object as its last line."""
