"""Real JupyterLabs behind the environments: one for each that runs, its disk a folder, reached only through a gateway by its owner."""
