"""The viewer in the browser: what is drawn, the server that draws it, and the panel that steers it."""
