"""Rendering, video, the viewer in the browser, learning curves and the report of a sweep."""
