"""How synthetic rows compare with real ones: arrays in, numbers out. Nothing here knows jobs, bundles or files."""
