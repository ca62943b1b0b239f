"""The Kafka door: records of the topic, claim checks, and the records that are refused.

What turns a Kafka record into an object of the raw bucket belongs here. What happens to the object later does not.
"""
