"""Programs as users write them: they talk to servers with the usual libraries, and say `vagus.observe` around a call.

    python -m benchmarks.gray.clients.cache a=10.77.0.5:11211 b=10.77.0.6:11211

Settings of vagus and of the libraries are the default ones. A line `ready` when all servers have answered.
"""
