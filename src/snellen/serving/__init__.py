"""The HTTP interface of a trained network, and the page that uses it."""
