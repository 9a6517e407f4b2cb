"""The live dashboard: the report of a run with what an account left last on top, served to this machine alone. It writes nothing."""
