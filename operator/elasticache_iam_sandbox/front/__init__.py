"""The caches: a TLS front per cache before a stock server, where tokens are checked as AWS checks them."""
