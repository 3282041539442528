"""`gateway writer`: rows out of Redis Streams into a sink, by the workers of a group."""
