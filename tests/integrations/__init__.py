"""The adapters against their hosts."""
