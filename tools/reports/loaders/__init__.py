"""make loaders-report: our files in the tools' own loaders; see __main__."""
