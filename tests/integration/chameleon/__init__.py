"""The lab's text, run against real servers."""
