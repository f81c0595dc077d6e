"""Exchanges: protocol cores without sockets."""
