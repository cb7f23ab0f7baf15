"""The probes, one module a subject. Every module of this folder is found by itself."""
