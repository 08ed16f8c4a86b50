"""The platform's servers and services without Docker: real programs from package registries, supervised.

`gourmetgram_tools.local.stack.Stack` is the one class to use from outside (command line, tests, benchmarks).
"""
