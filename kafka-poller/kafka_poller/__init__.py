"""Kafka on one machine: a broker, a producer, and the poller that stands in for Lambda's event source mapping.

What the event source mapping does for every function belongs here. What a message means, the function that takes it and
the stack around it do not: this package imports nothing of the repository it lies in.
"""
