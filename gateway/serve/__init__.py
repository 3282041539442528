"""`gateway serve`: the API and the page over all gateways, without devices of its own.

Fed by Redis (status, newest rows, alarms) and PostgreSQL (history), so that any number of nodes
behind a load balancer show the same.
"""
