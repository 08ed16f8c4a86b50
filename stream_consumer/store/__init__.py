"""State of the stream consumer in Redis. Every change is one script call, or one command.

The offsets stand beside the state they belong to and move in the same call. So both are of one age, whatever happens
to this process or to Redis. Offsets that are committed in Kafka only mirror them.
"""
