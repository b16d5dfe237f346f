"""The Network Weather Service's probes between nodes: cliques, latency, bandwidth. Cores that return directives.

`actors/probing.py` owns the sockets.
"""
