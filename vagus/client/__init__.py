"""What a host program imports: connection, observe. No Ray, numpy, aiohttp or asyncio at import.

`observe` reports what a program sees of others; `Connection` asks and reports over HTTP; `endpoint.find` says where.
"""
