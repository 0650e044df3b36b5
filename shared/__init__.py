"""The product's core: `domain` decides, `engine` orchestrates, `cloud` calls Google's APIs, `wiring` connects them."""
