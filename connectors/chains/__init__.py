"""Chain nodes: protocol cores without sockets."""
