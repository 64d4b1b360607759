"""Takes policies out of training: exports them to ONNX, and plays such a file in bare MuJoCo."""
