"""Passwordless, least-privilege access to Redis and Valkey on AWS, for Kubernetes workloads.

The folders are the architecture; a module imports only from the layers below its own:
cli, runtime | reconcile, tokens, verify | aws, kube, cache, delivery | ports | core | api.
"""
