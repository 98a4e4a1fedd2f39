"""Every decoder of strangers' bytes, held to what it promises, whatever the bytes are."""
