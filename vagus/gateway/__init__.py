"""The HTTP server of a node: routes, bounded inputs, one shape of error, OpenAPI. Never imports Ray.

To add a route: a handler and a `Route` line in one of the routes_*.py files. The server dispatches by that table and
the OpenAPI description is generated from it, so neither can forget a route that the other has.
"""
