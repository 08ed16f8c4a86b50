"""State of the stream consumer in Redis. Every change is one script call, or one command.

The offsets are stored beside their state and change in the same call. So both always have the same age, whatever
happens to this process or to Redis. Offsets that are committed in Kafka only mirror them.
"""
