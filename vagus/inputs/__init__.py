"""What other programs send: NetLogger lines, Fluent's forward protocol, OTLP. Parsers and stream decoders alone.

A decoder takes bytes and returns samples and events; it opens no socket. `actors/listeners.py` and the gateway do.
"""
