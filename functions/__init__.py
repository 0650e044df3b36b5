"""Entry points of the Cloud Functions: decode, call, turn an error into ack or nack. No decisions, no google.*."""

import gc

# A cold start makes some hundred thousand objects that live as long as the process. At the default of 700 the collector looks
# through them again and again: a tenth of the start (bench/cold_start.py).
gc.set_threshold(50_000, 20, 50)
