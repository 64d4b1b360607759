"""The engine interface and one module per simulator. Runs with numpy and torch alone, on Python 3.8 too."""
