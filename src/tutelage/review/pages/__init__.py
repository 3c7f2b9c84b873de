"""The pages: each takes the review and a request, and gives a response."""
