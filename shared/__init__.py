"""The product's core: `domain` decides, `engine` orchestrates, `cloud` speaks to Google, `wiring` puts them together."""
