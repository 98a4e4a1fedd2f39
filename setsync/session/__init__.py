"""One session as a machine: bytes in, messages out; messages in, bytes out."""
