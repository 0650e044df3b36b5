"""The real JupyterLabs of the environments: one for each running environment, with a folder as its disk, reached only by its owner."""
