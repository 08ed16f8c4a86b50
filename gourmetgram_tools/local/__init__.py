"""The platform's servers and services without Docker: real programs from package registries, supervised.

`gourmetgram_tools.local.stack.Stack` is the interface for the command line, tests and benchmarks.
"""
