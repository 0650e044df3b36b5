"""Entry points of the Cloud Functions: decode, call, turn an error into ack or nack. No decisions, no google.*."""
