"""A test ground for IAM access to ElastiCache: AWS as a model behind real wire protocols, real Redis behind a TLS front.

It doesn't import the operator, nor the operator it: two implementations that check each other. Loopback only.
"""
