"""The entry points of the Cloud Functions. They decode messages, call the engine, and turn an error into ack or nack.

The entry points make no decisions and import no google.* package.
"""

import gc

# A cold start makes some hundred thousand objects that live as long as the process. At the default threshold of 700 the collector
# scans them again and again, which takes a tenth of the start (bench/cold_start.py).
gc.set_threshold(50_000, 20, 50)
