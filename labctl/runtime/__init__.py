"""The only place that runs steps: executor, journal, recovery, supervision."""
