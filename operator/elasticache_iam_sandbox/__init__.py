"""A test ground for IAM access to ElastiCache: AWS behind its real wire protocols, Redis behind a TLS front.

It doesn't import the operator, nor the operator it: two implementations that check each other. Loopback only.
"""
