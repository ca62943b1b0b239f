"""Kafka on one machine: a broker, and the poller that stands in for Lambda's event source mapping."""
